// Typed models of event payloads, generated from plans. Of each event type the newest version given is taken; unknown
// members are passed over when read, so that the models read later minor versions too.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "schema/plan.h"

namespace utp {

using PlanList = std::span<const std::shared_ptr<const Plan>>;

std::string generate_cpp(PlanList plans);         // a header that uses this library (schema/typed_row.h)
std::string generate_pydantic(PlanList plans);    // a module for Python 3.9+ and Pydantic 2
std::string generate_typescript(PlanList plans);  // a module without dependencies, ES2020

// For the generators themselves.
namespace generate {

std::vector<std::shared_ptr<const Plan>> newest(PlanList plans);
std::string type_name(const Plan& plan);                      // "gex/levels/v1" -> "GexLevelsV1"
const Node& element_node(const Column& column);               // of the scalars in an array; of a scalar column its own
bool element_nullable(const Column& column);
bool is_optional(const Column& column);                       // may be absent or null
std::string quoted(std::string_view text);                    // a string literal of C++, Python and TypeScript (ASCII)
std::string one_line(std::string_view text);                  // for comments
std::vector<std::string> text_choices(const Node& node);      // the strings of an enum; empty when it has others (but null)

}  // namespace generate
}  // namespace utp
