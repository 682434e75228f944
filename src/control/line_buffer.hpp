// Lines out of a stream, with a bound on their length.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

namespace ploop::control {

class LineBuffer {
 public:
  explicit LineBuffer(std::size_t limit) : limit_(limit) {}
  void append(std::string_view bytes) { bytes_.append(bytes); }
  [[nodiscard]] bool empty() const { return bytes_.empty(); }
  /// The next complete line without its newline.
  std::optional<std::string> next() {
    const std::size_t end = bytes_.find('\n');
    if (end == std::string::npos) return std::nullopt;
    std::string line = bytes_.substr(0, end);
    bytes_.erase(0, end + 1);
    return line;
  }
  /// True when what is there can't become a line of legal length any more.
  [[nodiscard]] bool overflown() const { return std::min(bytes_.find('\n'), bytes_.size()) >= limit_; }

 private:
  std::size_t limit_;
  std::string bytes_;
};

}  // namespace ploop::control
