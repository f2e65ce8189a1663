// utp store roles: who writes, replaces and reads a store on a server, and may do nothing else.
#include <fmt/format.h>

#include "apps/utp/command_store.h"
#include "apps/utp/exit_code.h"
#include "apps/utp/locate.h"
#include "apps/utp/ports.h"
#include "core/json_writer.h"

namespace utp::app {
namespace {

struct RolesOptions {
  PlaceOptions place;
  StoreRoles roles;
  bool apply = false;
};

int roles_command(const RolesOptions& options, Context& context) {
  if (options.roles.writers.empty() && options.roles.replacers.empty() && options.roles.readers.empty()) {
    print_error("no role is named: --writer, --replacer or --reader NAME");
    return kUsage;
  }
  const auto place = locate(options.place, kUsesStore);
  if (!place) return report(place.error());
  const auto store = open_store(place->store, false);
  if (!store) return report(store.error());
  const auto script = (*store)->set_up_roles(options.roles, options.apply);
  if (!script) return report(script.error());
  if (context.common.json) {
    std::string out;
    JsonWriter json(out);
    json.begin_object().field("store", place->store_shown).field("applied", options.apply).field("script", *script).end_object();
    fmt::print("{}\n", out);
  } else if (!options.apply) {
    fmt::print("{}", *script);
  } else if (!context.common.quiet) {
    fmt::print("{}: {} roles set up; give a new one its password in psql: \\password NAME\n", place->store_shown,
               options.roles.writers.size() + options.roles.replacers.size() + options.roles.readers.size());
  }
  return kOk;
}

}  // namespace

void add_store_roles(CLI::App& group, Context& context) {
  CLI::App* command =
      add_command(group, context, "roles", "Rights of who writes and who reads, and no others: prints the SQL, or applies it",
                  "  utp store roles --store postgres://owner@host/market --writer chamber --reader analyst > roles.sql\n"
                  "  utp store roles --store postgres://postgres@host/market --writer chamber --reader analyst --apply");
  auto options = std::make_shared<RolesOptions>();
  add_place_options(*command, options->place, kUsesStore);
  command->add_option("--writer", options->roles.writers, "NAME: writes events into tables that are there (repeatable)")
      ->allow_extra_args(false);
  command
      ->add_option("--replacer", options->roles.replacers,
                   "NAME: that, and replaces a source's range, as utp replay --replace does")
      ->allow_extra_args(false);
  command->add_option("--reader", options->roles.readers, "NAME: reads events, aggregates and what is said of them (repeatable)")
      ->allow_extra_args(false);
  command->add_flag("--dedicated", options->roles.dedicated, "The database is the store's alone: nobody else may connect to it");
  command->add_flag(
      "--apply", options->apply,
      "Do it, in one transaction, as the user of --store: the store's owner, and for new roles one that may make roles");
  command->callback([&context, options] { context.action = [&context, options] { return roles_command(*options, context); }; });
}

}  // namespace utp::app
