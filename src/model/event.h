// Event: an envelope together with its payload as a typed row.
#pragma once

#include "core/hash.h"
#include "model/envelope.h"
#include "schema/plan.h"
#include "schema/value.h"

namespace utp {

// The envelope's and row's texts refer to the message's bytes (or to the row's arena): those must outlive it.
struct Event {
  Envelope envelope;
  Row row;
  Hash128 key() const { return idempotency_key(envelope); }  // computed at every call
};

}  // namespace utp
