// Exit codes of every command (docs/cli.md), and the one form in which errors reach a person.
#pragma once

#include <string_view>

#include "core/result.h"

namespace utp::app {

enum ExitCode : int {
  kOk = 0,
  kFailure = 1,        // it was tried and did not work, or a check found something
  kUsage = 2,          // the command line is wrong
  kConfiguration = 3,  // a configuration, manifest, schema or secret is wrong or missing
  kUnavailable = 4,    // a file, lock, server or disk is not usable now; the same call may work later
  kInterrupted = 130,  // stopped by Ctrl-C or SIGTERM before it was finished
};

// "utp: <message>" on standard error, in red on a terminal. Lines after the first are indented below it.
void print_error(std::string_view message);
void print_note(std::string_view message);  // "utp: <message>", no colour; silent under --quiet

// Prints the error and says which exit code fits it.
int report(const Error& error);
int report_configuration(const Error& error);  // always kConfiguration, but for what may pass by itself

}  // namespace utp::app
