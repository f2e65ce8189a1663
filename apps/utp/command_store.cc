#include "apps/utp/command_store.h"

namespace utp::app {

void add_store(CLI::App& app, Context& context) {
  CLI::App* group =
      add_command_group(app, "store", "The store: its tables and what is kept; several regions' stores as one; what it has, back onto a bus",
                        "  utp store status\n  utp store migrate --keep quotes/v2=90d\n"
                        "  utp store replay --store sqlite:data/store.db --bus embedded:again --realm replay_monday");
  add_store_care(*group, context);
  add_store_roles(*group, context);
  add_store_federate(*group, context);
  add_store_reconcile(*group, context);
  add_store_replay(*group, context);
}

}  // namespace utp::app
