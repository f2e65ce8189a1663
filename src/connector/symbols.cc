#include "connector/mapper.h"
#include "connector/text_map.h"

namespace utp {
namespace {

constexpr char kCanonicalSeparator = '-';

// Nodes do not move, so views of values stay valid while entries are added.
using Names = TextMap<std::string>;

// `text` cut at each `from`, every piece translated, joined with `to`.
std::string translate(std::string_view text, std::string_view from, std::string_view to, const Names& assets) {
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
  Names to_canonical;  // exceptions, and what was translated before
  Names to_venue;
  Names asset_to_canonical;
  Names asset_to_venue;
  std::string unkept;  // the last one past the bound

  std::string_view keep(Names& names, std::string_view from, std::string to) {
    if (names.size() < kNamesMax) return names.try_emplace(std::string(from), std::move(to)).first->second;
    unkept = std::move(to);
    return unkept;
  }
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
  return impl_->keep(impl_->to_canonical, venue,
                     translate(venue, separator_, std::string_view(&kCanonicalSeparator, 1), impl_->asset_to_canonical));
}

std::string_view SymbolMap::venue(std::string_view canonical) {
  const auto known = impl_->to_venue.find(canonical);
  if (known != impl_->to_venue.end()) return known->second;
  return impl_->keep(impl_->to_venue, canonical,
                     translate(canonical, std::string_view(&kCanonicalSeparator, 1), separator_, impl_->asset_to_venue));
}

}  // namespace utp
