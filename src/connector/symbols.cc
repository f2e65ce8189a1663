#include <functional>
#include <unordered_map>

#include "connector/mapper.h"

namespace utp {
namespace {

constexpr char kCanonicalSeparator = '-';

struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
// Nodes do not move, so views of values stay valid while entries are added.
using TextMap = std::unordered_map<std::string, std::string, TextHash, std::equal_to<>>;

// `text` cut at each `from`, every piece translated, joined with `to`.
std::string translate(std::string_view text, std::string_view from, std::string_view to, const TextMap& assets) {
  std::string out;
  for (std::size_t begin = 0;;) {
    const std::size_t end = from.empty() ? std::string_view::npos : text.find(from, begin);
    const std::string_view piece = text.substr(begin, end == std::string_view::npos ? end : end - begin);
    const auto asset = assets.find(piece);
    out += asset == assets.end() ? piece : std::string_view(asset->second);
    if (end == std::string_view::npos) return out;
    out += to;
    begin = end + from.size();
  }
}

}  // namespace

struct SymbolMap::Impl {
  TextMap to_canonical;  // exceptions, and what was translated before
  TextMap to_venue;
  TextMap asset_to_canonical;
  TextMap asset_to_venue;
};

SymbolMap::SymbolMap() : impl_(std::make_unique<Impl>()), separator_(1, kCanonicalSeparator) {}
SymbolMap::~SymbolMap() = default;
SymbolMap::SymbolMap(SymbolMap&&) noexcept = default;
SymbolMap& SymbolMap::operator=(SymbolMap&&) noexcept = default;

void SymbolMap::add(std::string canonical, std::string venue) {
  impl_->to_canonical.insert_or_assign(venue, canonical);
  impl_->to_venue.insert_or_assign(std::move(canonical), std::move(venue));
}

void SymbolMap::add_asset(std::string venue_asset, std::string canonical_asset) {
  impl_->asset_to_canonical.insert_or_assign(venue_asset, canonical_asset);
  // Several venue names may stand for one asset (an old and a new one): the first is what the venue is asked for.
  impl_->asset_to_venue.try_emplace(std::move(canonical_asset), std::move(venue_asset));
}

std::string_view SymbolMap::canonical(std::string_view venue) {
  const auto known = impl_->to_canonical.find(venue);
  if (known != impl_->to_canonical.end()) return known->second;
  auto text = translate(venue, separator_, std::string_view(&kCanonicalSeparator, 1), impl_->asset_to_canonical);
  return impl_->to_canonical.try_emplace(std::string(venue), std::move(text)).first->second;
}

std::string_view SymbolMap::venue(std::string_view canonical) {
  const auto known = impl_->to_venue.find(canonical);
  if (known != impl_->to_venue.end()) return known->second;
  auto text = translate(canonical, std::string_view(&kCanonicalSeparator, 1), separator_, impl_->asset_to_venue);
  return impl_->to_venue.try_emplace(std::string(canonical), std::move(text)).first->second;
}

}  // namespace utp
