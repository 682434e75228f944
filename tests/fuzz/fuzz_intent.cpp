// The note of an interrupted operation. Whatever the bytes are, reading ends and nothing is thrown; what is
// accepted names nothing outside of the disk's directory and survives being written and read again. A
// checksum that would stop nearly every input is put right first.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "ops/intent.hpp"
#include "require.hpp"

namespace {

using namespace ploop::ops;

constexpr std::string_view kDescriptor = "DiskDescriptor.xml";

void require_below(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    REQUIRE(!name.empty() && name.front() != '/' && name.find('\0') == std::string::npos);
    REQUIRE(("/" + name + "/").find("/../") == std::string::npos);
    const std::string file = intent_file("/disk/DiskDescriptor.xml", name);
    REQUIRE(intent_name("/disk/DiskDescriptor.xml", file).value() == name);
  }
}

void check(std::string_view text) {
  const auto intent = decode_intent(text, kDescriptor);
  if (!intent) {
    REQUIRE(intent.error().code != ploop::ExitCode::Ok);
    return;
  }
  require_below(intent->creates);
  require_below(intent->consumes);
  const auto again = decode_intent(encode_intent(*intent, kDescriptor), kDescriptor);
  REQUIRE(again.has_value() && *again == *intent);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  check(bytes);
  if (const auto sealed = seal_intent(bytes)) check(*sealed);
  return 0;
}
