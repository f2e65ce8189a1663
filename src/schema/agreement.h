// For tests and fuzzing: the ways that a plan reads and writes, held against each other and against the general validator.
#pragma once

#include <string>
#include <string_view>

#include "schema/plan.h"

namespace utp {

// What the plan makes of the instance, against the general verdict; "" when they agree. A plan may refuse what a row
// cannot hold (code "precision").
inline std::string disagreement(const Plan& plan, const Schema& schema, std::string_view json, bool valid) {
  Row row;
  Violation violation;
  const bool read = plan.read(json, row, violation);
  if (read != valid && !(valid && violation.code == "precision")) {
    return std::string("read ") + (read ? "takes it" : "refuses it: " + violation.code + " " + violation.path);
  }
  Row general;
  Violation general_violation;
  if (plan.read_general(json, general, general_violation) != read) return "read and read_general differ";
  if (!read) return "";
  if (!plan.validate(row, violation)) return "validate refuses the row: " + violation.code + " " + violation.path;
  std::string text;
  plan.write(row, text);
  if (!schema.validate(text, violation)) return "wrote what is not valid: " + text;
  Row again;
  if (!plan.read(text, again, violation)) return "refuses what it wrote: " + text;
  std::string second;
  plan.write(again, second);
  std::string third;
  plan.write(general, third);
  return text == second && text == third ? "" : "writes " + text + " then " + second + " and " + third;
}

}  // namespace utp
