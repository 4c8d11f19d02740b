// Memory of a thread for the length of a call.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace gossamer {
namespace {

// Memory for matrices that are read once. A little of it stays with the thread, since fresh pages would cost more; above
// that it is freed, so that one large batch does not hold memory for ever.
template <class T>
class Scratch {
 public:
  explicit Scratch(std::int64_t count) {
    thread_local std::vector<T> kept;
    if (count * std::int64_t(sizeof(T)) > kKeptBytes) {
      own_.reset(new T[std::size_t(count)]);
      data_ = own_.get();
      return;
    }
    if (std::int64_t(kept.size()) < count) kept.resize(std::size_t(count));
    data_ = kept.data();
  }
  T* data() const { return data_; }

 private:
  static constexpr std::int64_t kKeptBytes = 1 << 22;
  std::unique_ptr<T[]> own_;
  T* data_;
};

}  // namespace
}  // namespace gossamer
