// utp store federate.
#include <unistd.h>

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "apps/utp/command_store.h"
#include "apps/utp/exit_code.h"
#include "apps/utp/locate.h"
#include "apps/utp/ports.h"
#include "core/json_writer.h"

namespace utp::app {
namespace {

struct FederateOptions {
  PlaceOptions place;
  std::string schema = "federated";
  std::vector<std::string> regions, remove;  // regions: NAME=URL
  bool drop = false;
};

bool is_name(std::string_view text) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789_-";
  return !text.empty() && text[0] != '-' && text[0] != '_' && text.find_first_not_of(kLetters) == std::string_view::npos;
}

std::string check_region(const std::string& text) {
  const std::size_t equals = text.find('=');
  // What stands behind the name may hold a password.
  return equals != std::string::npos && is_name(std::string_view(text).substr(0, equals))
             ? ""
             : "write NAME=URL, such as us=postgres://reader@us-db/market";
}
std::string check_name(const std::string& text) {
  return is_name(text) ? "" : fmt::format("\"{}\" is no name: lower case letters, digits, _ and -", text);
}

// The schema is a store to read.
std::string url_of_schema(const std::string& shown, const std::string& schema) {
  return fmt::format("{}{}options=-csearch_path%3D{}", shown, shown.find('?') == std::string::npos ? '?' : '&', schema);
}

void print_result(const Place& place, const FederateOptions& options, const Federation& made) {
  std::string regions;
  for (const Federation::Region& region : made.regions) {
    regions += fmt::format("{}{} ({})", regions.empty() ? "" : ", ", region.name, region.place);
  }
  fmt::print("{}: schema {}, realm {}, regions {}\n", place.store_shown, options.schema, made.realm.empty() ? "-" : made.realm,
             regions);
  Table table({"view", "event type", "regions"});
  for (const FederationView& view : made.views) {
    table.add(
        {view.name, view.event_type.empty() ? "(aggregate)" : view.event_type, fmt::format("{}", fmt::join(view.regions, ", "))});
  }
  fmt::print("{}", table.text(colored(STDOUT_FILENO)));
  print_note(fmt::format("read it with --store '{}', or by SQL: SELECT ... FROM {}.trades WHERE region = '{}'",
                         url_of_schema(place.store_shown, options.schema), options.schema, made.regions.front().name));
}

void print_json(const Place& place, const FederateOptions& options, const Federation& made) {
  std::string out;
  JsonWriter json(out);
  json.begin_object()
      .field("store", place.store_shown)
      .field("schema", options.schema)
      .field("realm", made.realm)
      .key("regions")
      .begin_array();
  for (const Federation::Region& region : made.regions) {
    json.begin_object().field("region", region.name).field("place", region.place).end_object();
  }
  json.end_array().key("views").begin_array();
  for (const FederationView& view : made.views) {
    json.begin_object().field("view", view.name).field("event_type", view.event_type).key("regions").begin_array();
    for (const std::string& region : view.regions) json.value(region);
    json.end_array().end_object();
  }
  json.end_array().end_object();
  fmt::print("{}\n", out);
}

int federate_command(const FederateOptions& options, Context& context) {
  if (options.drop && !(options.regions.empty() && options.remove.empty())) {
    return report_configuration(Error{Code::kInvalidArgument, "--drop takes all of it away: without --region and --remove"});
  }
  const auto place = locate(options.place, kUsesStore);
  if (!place) return report_configuration(place.error());
  if (options.drop) {
    if (const Status dropped = drop_federation_of(place->store, options.schema); !dropped) return report(dropped.error());
    if (context.common.json) {
      fmt::print("{{\"dropped\":true}}\n");
    } else if (!context.common.quiet) {
      fmt::print("{}: schema {} is gone\n", place->store_shown, options.schema);
    }
    return kOk;
  }
  FederationOptions wanted;
  wanted.schema = options.schema;
  wanted.remove = options.remove;
  for (const std::string& text : options.regions) {
    const std::size_t equals = text.find('=');
    const std::string name = text.substr(0, equals);
    auto url = expand_secrets(std::string_view(text).substr(equals + 1));
    if (!url) return report_configuration(Error{url.error().code, fmt::format("--region {}: {}", name, url.error().message)});
    if (std::any_of(wanted.regions.begin(), wanted.regions.end(), [&](const FederatedRegion& r) { return r.name == name; })) {
      return report_configuration(
          Error{Code::kInvalidArgument, fmt::format("--region {} stands twice: each region has one store", name)});
    }
    wanted.regions.push_back({name, *std::move(url)});
  }
  const auto made = federate_store(place->store, std::move(wanted));
  if (!made) return report(made.error());
  if (context.common.json) {
    print_json(*place, options, *made);
  } else if (!context.common.quiet) {
    print_result(*place, options, *made);
  }
  return kOk;
}

}  // namespace

void add_store_federate(CLI::App& group, Context& context) {
  CLI::App* command = add_command(
      group, context, "federate", "Views over the stores of several regions, read where they are (docs/regions.md)",
      "  utp store federate --store postgres://owner@central/market --region us='postgres://reader:${US_PASSWORD}@us-db/market' "
      "\\\n"
      "      --region eu='postgres://reader:${file:/run/secrets/eu}@eu-db/market'\n"
      "  utp store federate --store postgres://owner@central/market               # again: what the regions have now\n"
      "  utp query trades/v2 --store 'postgres://reader@central/market?options=-csearch_path%3Dfederated'");
  auto options = std::make_shared<FederateOptions>();
  add_place_options(*command, options->place, kUsesStore);
  command
      ->add_option("--region", options->regions,
                   "NAME=URL: a region and its store, as the server of --store reaches it; ${NAME} and ${file:PATH} stand for "
                   "secrets (repeatable)")
      ->allow_extra_args(false)
      ->check(check_region);
  command->add_option("--remove", options->remove, "A region that is to go (repeatable)")
      ->allow_extra_args(false)
      ->check(check_name);
  command->add_option("--schema", options->schema, "Schema of the views")->capture_default_str()->check(check_name);
  command->add_flag("--drop", options->drop, "Takes all of it away: views, foreign tables and servers");
  command->callback(
      [&context, options] { context.action = [&context, options] { return federate_command(*options, context); }; });
}

}  // namespace utp::app
