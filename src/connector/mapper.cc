#include "connector/mapper.h"

namespace utp {

std::optional<std::uint32_t> MapperContext::route(std::string_view event_type) const {
  for (std::size_t i = 0; i < plans.size(); ++i) {
    if (plans[i]->event_type() == event_type) return static_cast<std::uint32_t>(i);
  }
  return std::nullopt;
}

}  // namespace utp
