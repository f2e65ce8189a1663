#include "persist/json_merge.h"

#include "core/json_writer.h"
#include "schema/json.h"

namespace utp {
namespace {

class Merge {
 public:
  Merge(const JsonTree& target, const JsonTree& patch, std::string& out) : target_(target), patch_(patch), out_(out) {}

  // `target` may be null: the member is new.
  void value(const JsonValue* target, const JsonValue& patch) {
    if (patch.kind != JsonKind::kObject) {
      patch_.write(patch, out_);
      return;
    }
    const bool object = target != nullptr && target->kind == JsonKind::kObject;
    out_ += '{';
    bool comma = false;
    const auto key = [&](std::string_view name) {
      if (comma) out_ += ',';
      comma = true;
      append_json_string(out_, name);
      out_ += ':';
    };
    if (object) {
      for (const JsonValue* member = target_.first(*target); member != nullptr; member = target_.next(*member)) {
        const JsonValue* change = patch_.member(patch, member->key);
        if (change != nullptr && change->kind == JsonKind::kNull) continue;
        key(member->key);
        if (change != nullptr) {
          value(member, *change);
        } else {
          target_.write(*member, out_);
        }
      }
    }
    for (const JsonValue* change = patch_.first(patch); change != nullptr; change = patch_.next(*change)) {
      if (change->kind == JsonKind::kNull || (object && target_.member(*target, change->key) != nullptr)) continue;
      key(change->key);
      value(nullptr, *change);
    }
    out_ += '}';
  }

 private:
  const JsonTree& target_;
  const JsonTree& patch_;
  std::string& out_;
};

}  // namespace

Result<std::string> json_merge_patch(std::string_view target, std::string_view patch) {
  JsonTree target_tree, patch_tree;
  std::string error;
  if (!patch_tree.parse(patch, error)) return fail(Code::kInvalidArgument, "the merge patch is no JSON: " + error);
  if (!target_tree.parse(target, error)) {
    return fail(Code::kInvalidArgument, "the message is no JSON, so a merge patch cannot repair it (a program can): " + error);
  }
  std::string out;
  Merge(target_tree, patch_tree, out).value(&target_tree.root(), patch_tree.root());
  return out;
}

}  // namespace utp
