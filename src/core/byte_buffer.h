// ByteBuffer: a vector of bytes whose resize() leaves new bytes as they are, for writers that fill them at once.
#pragma once

#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace utp {

template <class T>
struct UninitializedAllocator : std::allocator<T> {
  template <class U>
  struct rebind {
    using other = UninitializedAllocator<U>;
  };
  template <class U>
  void construct(U* place) noexcept {
    ::new (static_cast<void*>(place)) U;
  }
  template <class U, class... Args>
  void construct(U* place, Args&&... args) {
    ::new (static_cast<void*>(place)) U(std::forward<Args>(args)...);
  }
};

using ByteBuffer = std::vector<char, UninitializedAllocator<char>>;

}  // namespace utp
