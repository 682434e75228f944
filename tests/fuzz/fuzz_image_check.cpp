// Scan and repair on arbitrary bytes. Promises: a read-only check changes nothing; after a hard repair a
// second check finds nothing, changes nothing, and the image opens; data of an image that was sound stays
// what it was.
#include <cstring>
#include <optional>
#include <vector>

#include "image/check.hpp"
#include "image/delta.hpp"
#include "image/stack.hpp"
#include "image_input.hpp"
#include "require.hpp"

namespace ploop {
namespace {

constexpr std::uint32_t kLimitSectors = 1u << 11;  // 1 MiB, so that contents can be compared

std::vector<std::byte> content(io::BlockFile& file) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(file.size()));
  file.read(bytes, 0);
  return bytes;
}

/// Not operator==, whose loop over bytes the fuzzer would count one by one.
bool same(const std::vector<std::byte>& a, const std::vector<std::byte>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

/// Guest bytes of the used clusters; nothing when the image does not open.
std::optional<std::vector<std::byte>> guest_data(const io::MemoryFile& file) {
  image::OpenOptions options;
  options.allow_in_use = true;
  auto delta = image::Delta::open(std::make_unique<io::MemoryFile>(file), image::Kind::Ploop1, options);
  if (!delta) return std::nullopt;
  std::vector<std::byte> all;
  std::vector<std::byte> cluster(delta->cluster_bytes());
  for (const std::uint32_t number : delta->table()) {
    if (number == 0) continue;
    REQUIRE(io::read_exact(delta->file(), cluster, number * delta->cluster_bytes(), "data"));
    all.insert(all.end(), cluster.begin(), cluster.end());
  }
  return all;
}

void check_sane(const image::CheckReport& report) {
  REQUIRE(report.exit == ExitCode::Ok || report.exit == ExitCode::InUse || report.exit == ExitCode::Format ||
          report.exit == ExitCode::Write);
  for (const image::Finding& finding : report.findings)
    REQUIRE(!report.text(finding).empty());
}

}  // namespace
}  // namespace ploop

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ploop;
  fuzz::ImageInput input = fuzz::decode_input({data, size}, kLimitSectors);
  if (!input.file) return 0;
  io::MemoryFile& file = *input.file;
  const auto before = content(file);

  image::CheckOptions look{.force = true, .check = true, .read_only = true, .drop_in_use = true};
  const auto looked = image::check_image(file, look);
  REQUIRE(same(content(file), before));
  if (looked) {
    check_sane(*looked);
    REQUIRE(!looked->changed);
  }
  const auto data_before = guest_data(file);
  if (data_before) REQUIRE(looked.has_value());

  image::CheckOptions repair{.hard_force = true};
  repair.check = (input.options & 1) != 0;
  repair.drop_in_use = true;
  const auto repaired = image::check_image(file, repair);
  REQUIRE(repaired.has_value() == looked.has_value());
  if (!repaired) {
    REQUIRE(same(content(file), before));
    return 0;
  }
  check_sane(*repaired);
  REQUIRE(repaired->exit == ExitCode::Ok);
  const auto after = content(file);
  REQUIRE(repaired->changed || same(after, before));
  if (data_before) REQUIRE(same(guest_data(file).value_or(std::vector<std::byte>{}), *data_before));

  const auto second = image::check_image(file, look);
  REQUIRE(second.has_value() && second->exit == ExitCode::Ok);
  for (const image::Finding& finding : second->findings)
    REQUIRE(finding.severity == image::Severity::Info);
  const auto again = image::check_image(file, repair);
  REQUIRE(again.has_value() && !again->changed);
  REQUIRE(same(content(file), after));
  REQUIRE(guest_data(file).has_value());
  return 0;
}
