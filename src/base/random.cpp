#include "base/random.hpp"

#include <random>

namespace ploop {

std::uint64_t random_u64() {
  std::random_device device;
  return (static_cast<std::uint64_t>(device()) << 32) | device();
}

std::string random_name(std::size_t length) {
  static constexpr char kAlphabet[] = "0123456789abcdefghijklmnopqrstuvwxyz";
  std::string name;
  while (name.size() < length)
    name += kAlphabet[random_u64() % 36];
  return name;
}

}  // namespace ploop
