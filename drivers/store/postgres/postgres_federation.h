// Views over the stores of several regions, read in place: in a database of its own or beside another store, a schema that has
// for each event type and aggregate the rows of all regions, with the region as first column, over foreign tables (postgres_fdw).
// The schema has the catalogue that a reader needs, so that it is a store to read:
// postgres://host/db?options=-csearch_path%3DNAME.
#pragma once

#include <string>
#include <vector>

#include "core/result.h"
#include "drivers/store/postgres/postgres_store.h"

namespace utp {

struct FederatedRegion {
  std::string name;
  std::string url;  // of its store, as the server of the federation reaches it; may hold a password: never shown
};

struct FederationOptions {
  PostgresStoreOptions store;  // where the views are to be
  std::string schema = "federated";
  std::vector<FederatedRegion> regions;  // new ones, or known ones that are elsewhere now; the others stay
  std::vector<std::string> remove;       // names
};

struct FederationView {
  std::string name;
  std::string event_type;            // "" of an aggregate
  std::vector<std::string> regions;  // that have it
};
struct Federation {
  struct Region {
    std::string name, place;  // host:port/database
  };
  std::string realm;
  std::vector<Region> regions;
  std::vector<FederationView> views;
};

// Makes it, or brings it up to what the regions have now, in one transaction: after an error everything is as it was. Views that
// others stand on, and foreign tables of theirs on its servers, are never dropped: kAlreadyExists then. kUnavailable when a
// region cannot be reached, kInvalidArgument where regions do not fit together, kPermission with what to grant.
[[nodiscard]] Result<Federation> federate(const FederationOptions& options);
// All of it, with its servers and schemas.
[[nodiscard]] Status drop_federation(const PostgresStoreOptions& store, const std::string& schema);

}  // namespace utp
