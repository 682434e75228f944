// One message as from /dev/fuse. Whatever the bytes are, a request that reaches the engine lies inside the
// device, is made of whole sectors, and its data lies inside the message.
#include <linux/falloc.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "require.hpp"
#include "transport/fuse/message.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ploop::transport::fuse;
  using Op = ploop::engine::Request::Op;
  if (size < 2) return 0;
  // The first byte chooses the device, the second repairs the length field, without which little gets
  // through.
  const Limits limits{(std::uint64_t{data[0]} & 127) * 65536, 256 * 1024, (data[0] & 128) == 0};
  std::vector<std::byte> message(size - 2);
  if (!message.empty()) std::memcpy(message.data(), data + 2, message.size());
  if ((data[1] & 1) == 0 && message.size() >= sizeof(std::uint32_t)) {
    const auto length = static_cast<std::uint32_t>(message.size());
    std::memcpy(message.data(), &length, sizeof length);
  }
  const Decoded d = decode(message, limits);
  static_cast<void>(negotiate(message, {256 * 1024, 64}));
  if (d.action == Action::Refuse) REQUIRE(d.error < 0);
  if (d.action != Action::Engine) return 0;
  const ploop::engine::Request& r = d.request;
  REQUIRE(r.offset % 512 == 0 && r.length % 512 == 0);
  if (r.op == Op::Flush) return 0;
  REQUIRE(d.empty_read == (r.length == 0));
  if (d.empty_read) {
    REQUIRE(r.op == Op::Read);
    return 0;
  }
  REQUIRE(r.offset < limits.device_bytes && r.length <= limits.device_bytes - r.offset);
  if (r.op != Op::WriteZeroes) REQUIRE(r.length <= limits.max_transfer);
  if (r.op != Op::Read) REQUIRE(limits.writable);
  if (r.op == Op::Write) REQUIRE(message.size() == kWritePrefix + r.length);
  return 0;
}
