#include "image/same.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "format/header.hpp"
#include "image/delta.hpp"
#include "image/table_io.hpp"

namespace ploop::image {
namespace {

/// Longest piece that is compared at once.
constexpr std::uint64_t kPiece = 4 * kMiB;

tl::unexpected<Error> differ(const io::BlockFile& a, const io::BlockFile& b, std::string_view how) {
  return fail(ExitCode::Format, fmt::format("Images {} and {} {}", a.name(), b.name(), how));
}

Result<std::vector<std::uint32_t>> table_of(io::BlockFile& file) {
  const format::Header header = TRY(read_header(file));
  const std::uint64_t bytes = TRY(io::file_size(file));
  TRY(check_header_area(file, header, bytes));
  std::vector<std::uint32_t> slots = TRY(read_slots(file, header, bytes));
  slots.resize(header.table_entries);
  for (std::uint32_t& slot : slots)
    slot = format::cluster_from_slot(header, slot);
  return slots;
}

/// Compares pieces, counts, asks whether to go on.
class Comparer {
 public:
  Comparer(io::BlockFile& a, io::BlockFile& b, const CompareOptions& options, std::uint64_t total)
      : a_(a), b_(b), options_(options), total_(total), left_(kPiece), right_(kPiece) {}

  Status compare(std::uint64_t in_a, std::uint64_t in_b, std::uint64_t guest, std::uint64_t length) {
    for (std::uint64_t done = 0; done < length; done += kPiece) {
      const std::uint64_t part = std::min(kPiece, length - done);
      const auto left = std::span(left_).first(part);
      const auto right = std::span(right_).first(part);
      TRY(io::read_exact(a_, left, in_a + done, "data"));
      TRY(io::read_exact(b_, right, in_b + done, "data"));
      const auto [at, other] = std::mismatch(left.begin(), left.end(), right.begin());
      if (at != left.end()) {
        const auto offset = guest + done + static_cast<std::uint64_t>(at - left.begin());
        return differ(a_, b_,
                      fmt::format("are not identical: different data at sector {}", offset / kSectorSize));
      }
      done_ += part;
      report_progress(options_.progress, done_, total_);
      if (options_.cancelled && options_.cancelled())
        return fail(ExitCode::System, "cancelled, nothing was changed");
    }
    return {};
  }

 private:
  io::BlockFile& a_;
  io::BlockFile& b_;
  const CompareOptions& options_;
  std::uint64_t total_;
  std::uint64_t done_ = 0;
  std::vector<std::byte> left_, right_;
};

}  // namespace

Status same_shape(io::BlockFile& a, io::BlockFile& b, bool raw) {
  if (TRY(io::file_size(a)) != TRY(io::file_size(b))) return differ(a, b, "are of different size");
  if (raw) return {};
  format::Header one = TRY(read_header(a));
  format::Header two = TRY(read_header(b));
  one.in_use = two.in_use = 0;
  if (one != two) return differ(a, b, "are not identical");
  return {};
}

Status same_content(io::BlockFile& a, io::BlockFile& b, const CompareOptions& options) {
  if (options.raw) {
    const std::uint64_t length = TRY(io::file_size(a));
    return Comparer(a, b, options, length).compare(0, 0, 0, length);
  }
  const std::vector<std::uint32_t> left = TRY(table_of(a));
  const std::vector<std::uint32_t> right = TRY(table_of(b));
  const std::uint64_t cluster = TRY(read_header(a)).cluster_bytes();
  const auto mapped =
      static_cast<std::uint64_t>(std::count_if(left.begin(), left.end(), [](auto c) { return c != 0; }));
  Comparer comparer(a, b, options, mapped * cluster);
  for (std::size_t guest = 0; guest < left.size(); ++guest) {
    if ((left[guest] == 0) != (right[guest] == 0)) {
      return differ(a, b, fmt::format("are not identical: cluster {} is in one of them only", guest));
    }
    if (left[guest] == 0) continue;
    TRY(comparer.compare(left[guest] * cluster, right[guest] * cluster, guest * cluster, cluster));
  }
  return {};
}

}  // namespace ploop::image
