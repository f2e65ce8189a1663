// The commands of the group `utp store`, each in a file of its own.
#pragma once

#include "apps/utp/command.h"

namespace utp::app {

void add_store_care(CLI::App& group, Context& context);  // migrate, status, verify, maintain
void add_store_roles(CLI::App& group, Context& context);
void add_store_federate(CLI::App& group, Context& context);
void add_store_reconcile(CLI::App& group, Context& context);
void add_store_replay(CLI::App& group, Context& context);

}  // namespace utp::app
