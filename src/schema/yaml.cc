#include "schema/yaml.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

#include <simdjson.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include "core/json_writer.h"
#include "schema/json.h"

namespace utp {
namespace {

constexpr std::size_t kFileBytesMax = 4u << 20;
constexpr std::size_t kValuesMax = 100'000;  // far above any real configuration, far below what an alias bomb makes
constexpr int kDepthMax = 100;

enum class Scalar { kNull, kTrue, kFalse, kInteger, kFloat, kNotFinite, kText };

bool one_of(std::string_view text, std::initializer_list<std::string_view> words) {
  for (const auto word : words) {
    if (text == word) return true;
  }
  return false;
}

bool all_digits(std::string_view text, std::string_view digits) {
  return !text.empty() && text.find_first_not_of(digits) == std::string_view::npos;
}

bool is_float(std::string_view text) {  // sign already gone
  constexpr std::string_view kDigits = "0123456789";
  std::size_t i = 0;
  const auto digits = [&] {
    const std::size_t start = i;
    while (i < text.size() && kDigits.find(text[i]) != std::string_view::npos) ++i;
    return i - start;
  };
  std::size_t count = digits();
  if (i < text.size() && text[i] == '.') {
    ++i;
    count += digits();
  }
  if (count == 0) return false;
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    if (i < text.size() && (text[i] == '+' || text[i] == '-')) ++i;
    if (digits() == 0) return false;
  }
  return i == text.size();
}

// The tag resolution of YAML 1.2's core schema for a plain scalar.
Scalar resolve(std::string_view text) {
  if (one_of(text, {"", "~", "null", "Null", "NULL"})) return Scalar::kNull;
  if (one_of(text, {"true", "True", "TRUE"})) return Scalar::kTrue;
  if (one_of(text, {"false", "False", "FALSE"})) return Scalar::kFalse;
  std::string_view rest = text;
  if (rest[0] == '+' || rest[0] == '-') rest.remove_prefix(1);
  if (all_digits(rest, "0123456789")) return Scalar::kInteger;
  if (text.starts_with("0x") && all_digits(text.substr(2), "0123456789abcdefABCDEF")) return Scalar::kInteger;
  if (text.starts_with("0o") && all_digits(text.substr(2), "01234567")) return Scalar::kInteger;
  if (one_of(rest, {".inf", ".Inf", ".INF"}) || one_of(text, {".nan", ".NaN", ".NAN"})) return Scalar::kNotFinite;
  if (is_float(rest)) return Scalar::kFloat;
  return Scalar::kText;
}

// A JSON number with the same digits: no plus, no leading zeros, a digit on both sides of the point.
std::optional<std::string> json_number(std::string_view text) {
  if (text.starts_with("0x") || text.starts_with("0o")) {
    const int base = text[1] == 'x' ? 16 : 8;
    errno = 0;
    const auto value = std::strtoull(std::string(text.substr(2)).c_str(), nullptr, base);
    if (errno != 0) return std::nullopt;
    return std::to_string(value);
  }
  std::string out;
  if (text[0] == '-') out = "-";
  if (text[0] == '-' || text[0] == '+') text.remove_prefix(1);
  const std::size_t whole = std::min(text.find_first_not_of("0123456789"), text.size());
  std::string_view integer = text.substr(0, whole);
  while (integer.size() > 1 && integer[0] == '0') integer.remove_prefix(1);
  out += integer.empty() ? "0" : std::string(integer);
  std::string_view rest = text.substr(whole);
  if (!rest.empty() && rest[0] == '.') {
    const std::size_t end = std::min(rest.find_first_not_of("0123456789", 1), rest.size());
    if (end > 1) out += rest.substr(0, end);
    rest.remove_prefix(end);
  }
  out += rest;
  return out;
}

class Converter {
 public:
  Converter(std::string file, std::map<std::string, int, std::less<>>& lines) : file_(std::move(file)), lines_(lines) {}

  Status write(const YAML::Node& node, const std::string& pointer, int depth, std::string& out) {
    if (++values_ > kValuesMax) {
      return refuse(node, "more than " + std::to_string(kValuesMax) +
                              " values, aliases counted each time; expected a configuration");
    }
    if (depth > kDepthMax)
      return refuse(node, "nested deeper than " + std::to_string(kDepthMax) + " levels (an alias to itself?)");
    if (!lines_.contains(pointer)) lines_[pointer] = line(node);
    switch (node.Type()) {
      case YAML::NodeType::Undefined:
      case YAML::NodeType::Null: out += "null"; return {};
      case YAML::NodeType::Scalar: return write_scalar(node, out);
      case YAML::NodeType::Sequence: return write_sequence(node, pointer, depth, out);
      case YAML::NodeType::Map: return write_map(node, pointer, depth, out);
    }
    return {};
  }

 private:
  static int line(const YAML::Node& node) { return node.Mark().line + 1; }

  tl::unexpected<Error> refuse(const YAML::Node& node, const std::string& message) const {
    return fail(Code::kInvalidArgument, file_ + ":" + std::to_string(line(node)) + ": " + message);
  }

  Status write_scalar(const YAML::Node& node, std::string& out) {
    const std::string& text = node.Scalar();
    const std::string& tag = node.Tag();
    constexpr std::string_view kCore = "tag:yaml.org,2002:";
    Scalar type = Scalar::kText;
    if (tag == "?" || tag.empty()) {
      type = resolve(text);
    } else if (tag.starts_with(kCore)) {
      const std::string_view wanted = std::string_view(tag).substr(kCore.size());
      const Scalar found = resolve(text);
      const bool number = found == Scalar::kInteger || found == Scalar::kFloat;
      if (wanted != "str") {
        type = found;
        const bool fits = (wanted == "int" && found == Scalar::kInteger) || (wanted == "float" && number) ||
                          (wanted == "bool" && (found == Scalar::kTrue || found == Scalar::kFalse)) ||
                          (wanted == "null" && found == Scalar::kNull);
        if (!fits) return refuse(node, "found '" + shorten(text, 60) + "' under the tag !!" + std::string(wanted));
      }
    } else if (tag != "!") {
      return refuse(node, "found the tag " + tag + "; expected none, or one of !!str, !!int, !!float, !!bool, !!null");
    }
    switch (type) {
      case Scalar::kNull: out += "null"; return {};
      case Scalar::kTrue: out += "true"; return {};
      case Scalar::kFalse: out += "false"; return {};
      case Scalar::kNotFinite: return refuse(node, "found " + text + "; expected a finite number");
      case Scalar::kText: append_json_string(out, text); return {};
      case Scalar::kInteger:
      case Scalar::kFloat: break;
    }
    const auto number = json_number(text);
    if (!number) return refuse(node, "found " + text + "; expected a number below 2^64");
    out += *number;
    return {};
  }

  Status write_sequence(const YAML::Node& node, const std::string& pointer, int depth, std::string& out) {
    if (const auto status = plain_collection(node, "seq"); !status) return status;
    out.push_back('[');
    std::size_t index = 0;
    for (const auto& item : node) {
      if (index != 0) out.push_back(',');
      UTP_CHECK(write(item, pointer + "/" + std::to_string(index), depth + 1, out));
      ++index;
    }
    out.push_back(']');
    return {};
  }

  Status write_map(const YAML::Node& node, const std::string& pointer, int depth, std::string& out) {
    if (const auto status = plain_collection(node, "map"); !status) return status;
    out.push_back('{');
    std::map<std::string, int> seen;
    for (const auto& member : node) {
      if (!member.first.IsScalar()) return refuse(member.first, "found a key that is a list, a map or empty; expected a name");
      const std::string& key = member.first.Scalar();
      if (key == "<<" && member.first.Tag() != "!") {
        return refuse(member.first, "found the merge key <<, which is not supported; write the members out");
      }
      const auto [earlier, fresh] = seen.emplace(key, line(member.first));
      if (!fresh) {
        return refuse(member.first, "the key '" + shorten(key, 60) + "' stands twice (first on line " +
                                        std::to_string(earlier->second) + "); keep one of them");
      }
      if (seen.size() > 1) out.push_back(',');
      append_json_string(out, key);
      out.push_back(':');
      std::string child = pointer;
      append_pointer(child, key);
      lines_.emplace(child, line(member.first));
      UTP_CHECK(write(member.second, child, depth + 1, out));
    }
    out.push_back('}');
    return {};
  }

  Status plain_collection(const YAML::Node& node, std::string_view type) {
    const std::string& tag = node.Tag();
    if (tag.empty() || tag == "?" || tag == "!" || tag == "tag:yaml.org,2002:" + std::string(type)) return {};
    return refuse(node, "found the tag " + tag + "; expected none");
  }

  std::string file_;
  std::map<std::string, int, std::less<>>& lines_;
  std::size_t values_ = 0;
};

std::string line_text(std::string_view text, int line) {
  std::size_t start = 0;
  for (int i = 0; i < line; ++i) {
    const std::size_t end = text.find('\n', start);
    if (end == std::string_view::npos) return "";
    start = end + 1;
  }
  return std::string(text.substr(start, std::min(text.find('\n', start), text.size()) - start));
}

// Where documents start, and nothing else.
class DocumentStarts final : public YAML::EventHandler {
 public:
  std::vector<YAML::Mark> marks;

  void OnDocumentStart(const YAML::Mark& mark) override { marks.push_back(mark); }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}
};

// The parser is asked twice at most: of some texts (a comma alone) it makes documents without end.
Status one_document(const std::string& text, const std::string& file) {
  std::istringstream in(text);
  YAML::Parser parser(in);
  DocumentStarts starts;
  if (!parser.HandleNextDocument(starts) || !parser.HandleNextDocument(starts) || starts.marks.size() < 2) return {};
  const YAML::Mark& second = starts.marks[1];
  const std::string place = file + ":" + std::to_string(second.line + 1);
  if (second.pos == starts.marks[0].pos) {
    return fail(Code::kInvalidArgument, place + ": YAML syntax: found \"" + line_text(text, second.line).substr(0, 60) +
                                            "\", which begins no value; expected a key and a colon");
  }
  return fail(Code::kInvalidArgument, place + ": found a second document; expected one (remove the line ---)");
}

}  // namespace

int YamlDocument::line_of(std::string_view pointer) const {
  for (;;) {
    if (const auto found = lines_.find(pointer); found != lines_.end()) return found->second;
    const std::size_t slash = pointer.rfind('/');
    if (slash == std::string_view::npos) return 1;
    pointer = pointer.substr(0, slash);
  }
}

std::string YamlDocument::describe(std::string_view pointer, std::string_view message) const {
  std::string text = file + ":" + std::to_string(line_of(pointer)) + ": ";
  if (!pointer.empty()) text += std::string(pointer) + ": ";
  return text + std::string(message);
}

std::string YamlDocument::describe(const Violation& violation) const {
  return describe(violation.path, violation.message);
}

Status YamlDocument::check(const Schema& schema) const {
  Violation violation;
  if (schema.validate(json, violation)) return {};
  return fail(Code::kInvalidArgument, describe(violation));
}

Result<YamlDocument> parse_yaml(std::string_view text, const std::string& file) {
  const auto refuse = [&](const std::string& message) { return fail(Code::kInvalidArgument, file + ": " + message); };
  if (text.size() > kFileBytesMax) {
    return refuse("found " + std::to_string(text.size()) + " bytes; expected at most " + std::to_string(kFileBytesMax));
  }
  if (!simdjson::validate_utf8(text)) return refuse("found bytes that are no UTF-8; save the file as UTF-8");
  if (text.find('\0') != std::string_view::npos) return refuse("found a zero byte; expected text");
  YamlDocument document;
  document.file = file;
  try {
    const std::string copy(text);
    UTP_CHECK(one_document(copy, file));
    const YAML::Node root = YAML::Load(copy);
    if (!root.IsDefined() || root.IsNull()) return refuse("the file is empty; expected a YAML document");
    UTP_CHECK(Converter(file, document.lines_).write(root, "", 0, document.json));
  } catch (const YAML::Exception& error) {
    const int line = error.mark.is_null() ? 0 : error.mark.line;
    std::string message = file + ":" + std::to_string(line + 1) + ": YAML syntax: " + error.msg;
    for (const int near : {line, line - 1}) {
      const std::string source = near < 0 ? "" : line_text(text, near);
      const std::size_t indent = source.find_first_not_of(" \t");
      if (indent != std::string::npos && source.substr(0, indent).find('\t') != std::string::npos) {
        message += " (line " + std::to_string(near + 1) + " is indented with a tab; YAML takes spaces only)";
        break;
      }
    }
    return fail(Code::kInvalidArgument, std::move(message));
  } catch (const std::exception& error) {
    return refuse(std::string("cannot be read as YAML: ") + error.what());
  }
  return document;
}

Result<YamlDocument> load_yaml(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    return fail(Code::kInvalidArgument, path + ": is a directory; expected a YAML file");
  }
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    const int number = errno;
    return fail(number == ENOENT ? Code::kNotFound : number == EACCES ? Code::kPermission : Code::kIo,
                path + ": cannot be opened: " + std::strerror(number));
  }
  std::string text(kFileBytesMax + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad()) return fail(Code::kIo, path + ": cannot be read");
  text.resize(static_cast<std::size_t>(in.gcount()));
  return parse_yaml(text, path);
}

}  // namespace utp
