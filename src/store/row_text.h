// Values as texts, the way every store keeps them.
#pragma once

#include <string>

#include "model/event.h"

namespace utp {

// The array column as JSON: [1.5,2], [[price,size],...], ["a","b"]. Decimals keep their exact digits.
void append_array_json(const Row& row, std::size_t column, std::string& out);
// One element (or tuple) of it, starting at `first` of Row::elements().
void append_element_json(const Row& row, std::size_t column, std::size_t index, std::string& out);

// True when a double holds this decimal exactly enough to read the same digits back.
bool fits_double(const Decimal& number);

}  // namespace utp
