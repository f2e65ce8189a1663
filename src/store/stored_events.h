// StoredEvents: a store's rows as the events that they were, of several types in one order: event time, then type, then what
// Store::query says (symbol, sequence). The rows of an exploded event are one event again. Memory does not grow with their
// number.
//
// What a store keeps is not every byte of a payload: null and absent are one to it, a decimal of more than 15 digits is rounded,
// and another's spelling (order of keys, white space) is not kept. The checksum says whether the payload that was put together is
// the one that was published; where it is not, the event keeps its checksum and with it its key, and names its payload's own.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "model/envelope.h"
#include "schema/registry.h"
#include "store/store.h"

namespace utp {

struct StoredRange {
  std::vector<std::string> event_types;  // empty = all that the store has
  std::vector<std::string> symbols;      // empty = all
  std::vector<std::string> sources;      // empty = all
  std::optional<Timestamp> from;         // event time, inclusive
  std::optional<Timestamp> to;           // exclusive
};

struct StoredEvent {
  // As stored. Realm and region are for the caller to set; the watermark is the event time, since nothing comes late in this
  // order.
  Envelope envelope;
  std::optional<std::uint64_t> payload_checksum;  // for append_envelope()
  // Why the row cannot be an event again (its schema is not known, somebody changed it); "" = it is one.
  std::string refused;
};

// Not thread-safe. Store and registry must outlive it.
class StoredEvents {
 public:
  static Result<std::unique_ptr<StoredEvents>> open(Store& store, const Registry& registry, const StoredRange& range);
  ~StoredEvents();

  // The next event, valid until the next call; null at the end. After an error there is no way on: the cursors are lost.
  Result<const StoredEvent*> next();

  std::uint64_t rows() const { return rows_; }  // that the events so far were put together from

 private:
  class Type;
  StoredEvents() = default;

  std::vector<std::unique_ptr<Type>> types_;  // that have an event to give, by name
  Type* given_ = nullptr;                     // whose event the caller has
  std::uint64_t rows_ = 0;
};

}  // namespace utp
