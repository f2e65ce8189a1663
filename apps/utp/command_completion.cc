#include <set>

#include <fmt/format.h>

#include "apps/utp/command.h"
#include "apps/utp/exit_code.h"

namespace utp::app {
namespace {

// One command of the tree, flat: all three shells complete by the words typed so far.
struct Entry {
  std::string path;  // "", "schema", "schema gen"
  std::vector<std::pair<std::string, std::string>> commands;  // name, description
  struct Option {
    std::vector<std::string> names;  // with dashes
    std::string description;
    std::vector<std::string> choices;
    bool takes_value = false;
  };
  std::vector<Option> options;
};

std::vector<std::string> choices_of(const CLI::Option& option) {
  // IsMember describes itself as {a,b,c} in the type name.
  const std::string type = option.get_type_name();
  const std::size_t open = type.find('{'), close = type.rfind('}');
  std::vector<std::string> out;
  if (open == std::string::npos || close == std::string::npos) return out;
  std::string word;
  for (char c : type.substr(open + 1, close - open - 1)) {
    if (c == ',') out.push_back(std::exchange(word, {}));
    else word += c;
  }
  out.push_back(word);
  return out;
}

void collect(const CLI::App& command, const std::string& path, std::vector<Entry>& entries) {
  Entry entry;
  entry.path = path;
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_group().empty()) continue;  // hidden
    Entry::Option out;
    for (const std::string& name : option->get_snames()) out.names.push_back(fmt::format("-{}", name));
    for (const std::string& name : option->get_lnames()) out.names.push_back(fmt::format("--{}", name));
    out.choices = choices_of(*option);
    if (out.names.empty()) {  // a positional: its choices complete like commands
      for (const std::string& choice : out.choices) entry.commands.emplace_back(choice, option->get_description());
      continue;
    }
    out.description = option->get_description();
    out.takes_value = option->get_items_expected_max() > 0;
    entry.options.push_back(std::move(out));
  }
  const auto children = command.get_subcommands([](const CLI::App* app) { return !app->get_group().empty(); });
  for (const CLI::App* child : children) entry.commands.emplace_back(child->get_name(), child->get_description());
  entries.push_back(std::move(entry));
  for (const CLI::App* child : children) collect(*child, path.empty() ? child->get_name() : path + " " + child->get_name(), entries);
}

std::string single_quoted(std::string_view text) {  // for single quotes in a shell
  std::string out = "'";
  for (char c : text) {
    if (c == '\'') out += "'\\''";
    else out += c == '\n' ? ' ' : c;
  }
  return out + "'";
}

std::string words_of(const Entry& entry) {
  std::string words;
  for (const auto& [name, description] : entry.commands) words += name + " ";
  for (const auto& option : entry.options) {
    for (const std::string& name : option.names) words += name + " ";
  }
  if (!words.empty()) words.pop_back();
  return words;
}

std::string bash(const std::vector<Entry>& entries) {
  std::string out =
      "# bash completion for utp: source <(utp completion bash)\n"
      "_utp() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} path= words= i\n"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "    case \"$path ${COMP_WORDS[i]}\" in\n";
  std::string paths;
  for (const Entry& entry : entries) {
    if (!entry.path.empty()) {
      // `path` starts with a blank, so that one pattern form fits every depth.
      paths += (paths.empty() ? "" : "|") + fmt::format("\" {}\"", entry.path);
    }
  }
  out += fmt::format("      {}) path=\"$path ${{COMP_WORDS[i]}}\" ;;\n    esac\n  done\n", paths);
  out += "  case \"$path:$before\" in\n";
  for (const Entry& entry : entries) {
    for (const auto& option : entry.options) {
      if (!option.takes_value) continue;
      std::string patterns;
      for (const std::string& name : option.names) {
        patterns += (patterns.empty() ? "" : "|") + fmt::format("\"{}{}:{}\"", entry.path.empty() ? "" : " ", entry.path, name);
      }
      std::string choices;
      for (const std::string& choice : option.choices) choices += (choices.empty() ? "" : " ") + choice;
      out += choices.empty()
                 ? fmt::format("    {}) COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n", patterns)
                 : fmt::format("    {}) COMPREPLY=($(compgen -W \"{}\" -- \"$word\")); return ;;\n", patterns, choices);
    }
  }
  out += "  esac\n  case \"$path\" in\n";
  for (const Entry& entry : entries) {
    out += fmt::format("    \"{}{}\") words=\"{}\" ;;\n", entry.path.empty() ? "" : " ", entry.path, words_of(entry));
  }
  out +=
      "  esac\n"
      "  COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
      "  [[ $word == -* || ${#COMPREPLY[@]} -gt 0 ]] || COMPREPLY=($(compgen -f -- \"$word\"))\n"
      "}\n"
      "complete -o filenames -o bashdefault -F _utp utp ./utp\n";
  return out;
}

std::string zsh_escaped(std::string text) {
  for (std::size_t at = 0; (at = text.find(':', at)) != std::string::npos; at += 2) text.replace(at, 1, "\\:");
  return text;
}

std::string zsh(const std::vector<Entry>& entries) {
  std::string out =
      "#compdef utp\n"
      "# zsh completion for utp: utp completion zsh > \"${fpath[1]}/_utp\"\n"
      "_utp() {\n"
      "  local cmd= word i\n"
      "  local -a items choices\n"
      "  for ((i = 2; i < CURRENT; i++)); do\n"
      "    case \"$cmd ${words[i]}\" in\n";
  std::string paths;
  for (const Entry& entry : entries) {
    if (!entry.path.empty()) paths += (paths.empty() ? "" : "|") + fmt::format("\" {}\"", entry.path);
  }
  out += fmt::format("      {}) cmd=\"$cmd ${{words[i]}}\" ;;\n    esac\n  done\n", paths);
  out += "  case \"$cmd:${words[CURRENT-1]}\" in\n";
  for (const Entry& entry : entries) {
    for (const auto& option : entry.options) {
      if (!option.takes_value) continue;
      std::string patterns, choices;
      for (const std::string& name : option.names) {
        patterns += (patterns.empty() ? "" : "|") + fmt::format("\"{}{}:{}\"", entry.path.empty() ? "" : " ", entry.path, name);
      }
      for (const std::string& choice : option.choices) choices += fmt::format(" {}", single_quoted(choice));
      out += choices.empty() ? fmt::format("    {}) _files; return ;;\n", patterns)
                             : fmt::format("    {}) choices=({}); compadd -a choices; return ;;\n", patterns, choices.substr(1));
    }
  }
  out += "  esac\n  case \"$cmd\" in\n";
  for (const Entry& entry : entries) {
    std::string items;
    for (const auto& [name, description] : entry.commands) items += fmt::format(" {}", single_quoted(zsh_escaped(name) + ":" + description));
    for (const auto& option : entry.options) {
      for (const std::string& name : option.names) items += fmt::format(" {}", single_quoted(zsh_escaped(name) + ":" + option.description));
    }
    out += fmt::format("    \"{}{}\") items=({}) ;;\n", entry.path.empty() ? "" : " ", entry.path, items.empty() ? "" : items.substr(1));
  }
  out += "  esac\n  _describe 'utp' items\n  _files\n}\n"
         "if [ \"$funcstack[1]\" = \"_utp\" ]; then _utp \"$@\"; else compdef _utp utp; fi\n";
  return out;
}

std::string fish(const std::vector<Entry>& entries) {
  std::string out =
      "# fish completion for utp: utp completion fish > ~/.config/fish/completions/utp.fish\n"
      "function __utp_at\n"
      "  set -l at\n"
      "  for word in (commandline -opc)[2..-1]\n"
      "    string match -q -- '-*' $word; and continue\n"
      "    contains -- (string join ' ' $at $word) $__utp_paths; and set at $at $word\n"
      "  end\n"
      "  test \"$at\" = \"$argv[1]\"\n"
      "end\n"
      "set -g __utp_paths";
  for (const Entry& entry : entries) {
    if (!entry.path.empty()) out += fmt::format(" {}", single_quoted(entry.path));
  }
  out += '\n';
  for (const Entry& entry : entries) {
    const std::string condition = single_quoted("__utp_at " + single_quoted(entry.path));
    for (const auto& [name, description] : entry.commands) {
      out += fmt::format("complete -c utp -n {} -a {} -d {}\n", condition, name, single_quoted(description));
    }
    for (const auto& option : entry.options) {
      out += fmt::format("complete -c utp -n {}", condition);
      for (const std::string& name : option.names) {
        out += name.starts_with("--") ? fmt::format(" -l {}", name.substr(2)) : fmt::format(" -s {}", name.substr(1));
      }
      if (option.takes_value) out += " -r";
      if (!option.choices.empty()) {
        std::string choices;
        for (const std::string& choice : option.choices) choices += (choices.empty() ? "" : " ") + choice;
        out += fmt::format(" -f -a {}", single_quoted(choices));
      }
      out += fmt::format(" -d {}\n", single_quoted(option.description));
    }
  }
  return out;
}

int complete(const Context& context, const std::string& shell) {
  std::vector<Entry> entries;
  collect(*context.root, "", entries);
  fmt::print("{}", shell == "bash" ? bash(entries) : shell == "zsh" ? zsh(entries) : fish(entries));
  return kOk;
}

}  // namespace

void add_completion(CLI::App& app, Context& context) {
  CLI::App* command = add_command(app, context, "completion", "Completion script for a shell",
                                  "  source <(utp completion bash)\n"
                                  "  utp completion zsh > \"${fpath[1]}/_utp\"\n"
                                  "  utp completion fish > ~/.config/fish/completions/utp.fish");
  auto shell = std::make_shared<std::string>();
  command->add_option("SHELL", *shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->callback([&context, shell] { context.action = [&context, shell] { return complete(context, *shell); }; });
}

}  // namespace utp::app
