// The latest prices, taken from the bus as any other reader would. When it falls behind it jumps to the newest.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "apps/utp/live_view.h"
#include "bus/bus.h"
#include "core/result.h"
#include "normalize/normalizer.h"
#include "schema/registry.h"

namespace utp::app {

class PriceWatch {
 public:
  // Both outlive it.
  PriceWatch(Bus& bus, const Registry& registry, std::string realm);

  // Reads what is there, without waiting.
  void step();
  std::vector<ViewState::Price> prices() const;  // by symbol

 private:
  struct Entry {
    ViewState::Price shown;
    std::optional<Decimal> last;
  };
  void take(const Event& event);

  Bus& bus_;
  std::string realm_;
  EventReader reader_;
  std::unique_ptr<Subscription> subscription_;
  Event event_;
  std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace utp::app
