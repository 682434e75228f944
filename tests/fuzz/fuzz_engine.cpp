// A live device over arbitrary bytes: one or two deltas, then a script of reads, writes, zeroings and
// flushes, then a clean end. Promises: what cannot be attached is refused; every read gives what the image
// held or what the script wrote; afterwards the image opens as closed, passes check, and holds exactly that.
//
//   0  u8   flags: 1 two deltas, 2 raw base, 4 reflinks, 8 requests finish at once, 0x10 punching unsupported
//   1  u8   seed of the ring
//   2  u8   number of script steps, 4 bytes each: kind, u16 place, length
//   3  u16  length of the first image's input
//   5  ..   script, first image (base), second image; both as image_input.hpp says
#include <algorithm>
#include <coroutine>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "base/aligned_buffer.hpp"
#include "engine/device.hpp"
#include "image/check.hpp"
#include "image/stack.hpp"
#include "image_input.hpp"
#include "io/forwarding_file.hpp"
#include "io/sim_ring.hpp"
#include "require.hpp"

namespace ploop {
namespace {

constexpr std::uint32_t kLimitSectors = 1u << 11;  // of an image file
constexpr std::uint64_t kCapacity = 6 * kMiB;      // of the host file system
constexpr std::uint64_t kMaxRequestSectors = 256;
constexpr std::size_t kMaxSteps = 24;

struct Images {
  std::vector<std::unique_ptr<io::MemoryFile>> files;
  bool raw_base = false;

  [[nodiscard]] image::Kind kind(std::size_t level) const {
    return raw_base && level == 0 ? image::Kind::Raw : image::Kind::Ploop1;
  }
  /// Opens copies of the files; `top`, when given, instead of the last one.
  [[nodiscard]] std::optional<std::vector<image::Delta>> open(std::unique_ptr<io::BlockFile> top,
                                                              bool writable, bool in_use) const {
    std::vector<image::Delta> deltas;
    for (std::size_t level = 0; level < files.size(); ++level) {
      const bool last = level + 1 == files.size();
      image::OpenOptions options;
      options.raw_cluster_sectors = 64;
      options.allow_in_use = last && in_use;
      options.writable = last && writable;
      std::unique_ptr<io::BlockFile> file = std::make_unique<io::MemoryFile>(*files[level]);
      if (last && top) file = std::move(top);
      auto delta = image::Delta::open(std::move(file), kind(level), options);
      if (!delta) return std::nullopt;
      deltas.push_back(std::move(*delta));
    }
    return deltas;
  }
};

/// The top as the device sees it; the file outlives the device.
using Borrowed = io::ForwardingFile<>;

/// What the guest wrote, newest last.
struct Written {
  std::uint64_t first;
  std::uint64_t count;
  std::uint8_t value;  ///< of every byte
  bool certain;        ///< false: it failed, so the old value may still be there
};

struct Coroutine {
  struct promise_type {
    Coroutine get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    [[noreturn]] void unhandled_exception() { std::abort(); }
  };
};

Coroutine execute(engine::Device& device, const engine::Request* request, int* result, bool* done) {
  *result = co_await device.execute(*request);
  *done = true;
}

class Life {
 public:
  Life(const Images& images, image::Stack original, io::MemoryFile& top)
      : images_(images), original_(std::move(original)), top_(top) {}

  void run(std::span<const std::uint8_t> script, const io::SimRingOptions& ring_options) {
    auto deltas = images_.open(std::make_unique<Borrowed>(top_), true, true);
    if (!deltas) return;
    engine::DeviceConfig config;
    config.deltas = std::move(*deltas);
    const std::uint64_t bytes = engine::Device::map_bytes(config.deltas);
    REQUIRE(bytes <= 64 * kMiB);
    std::vector<std::uint64_t> map(bytes / 8 + 1);
    config.map_memory = std::as_writable_bytes(std::span(map)).first(bytes);
    config.on_no_space = engine::OnNoSpace::Fail;
    io::SimRing ring(ring_options);
    auto device = engine::Device::open(ring, std::move(config));
    if (!device) return;
    REQUIRE((*device)->size_bytes() == original_.size_bytes());
    for (std::size_t at = 0; at + 4 <= script.size(); at += 4)
      step(**device, ring, script.subspan(at, 4));
    REQUIRE(!(*device)->failed());
    closed_ = (*device)->close().has_value();
  }

  /// Compares the closed image with the script.
  void check_closed() {
    if (!closed_) return;
    auto deltas = images_.open(std::make_unique<io::MemoryFile>(top_), false, false);
    REQUIRE(deltas.has_value());
    const auto after = image::Stack::make(std::move(*deltas));
    REQUIRE(after.has_value());
    for (const Written& w : written_)
      compare(*after, w.first, w.count);
    compare(*after, 0, std::min<std::uint64_t>(original_.size_sectors(), 512));
    if (images_.kind(images_.files.size() - 1) == image::Kind::Raw) return;
    const image::CheckOptions look{.force = true, .check = true, .read_only = true};
    const auto report = image::check_image(top_, look);
    REQUIRE(report.has_value() && report->exit == ExitCode::Ok);
  }

 private:
  void step(engine::Device& device, io::SimRing& ring, std::span<const std::uint8_t> code) {
    using Op = engine::Request::Op;
    const std::uint64_t sectors = original_.size_sectors();
    const std::uint64_t place = code[1] | (std::uint64_t{code[2]} << 8);
    const std::uint64_t per_cluster = original_.cluster_bytes() / kSectorSize;
    engine::Request request;
    request.op = static_cast<Op>(code[0] % 4);
    request.fua = (code[0] & 0x10) != 0;
    request.unmap = (code[0] & 0x20) != 0;
    // Near a cluster border, or anywhere; sometimes beyond the end.
    const std::uint64_t first =
        ((code[0] & 0x40) != 0 ? place / 8 * per_cluster + place % 8 : place) % (sectors + 8);
    const bool whole = (code[0] & 0x80) != 0 && request.op == Op::WriteZeroes;
    const std::uint64_t count = whole ? std::min<std::uint64_t>(per_cluster * (1 + code[3] % 3), 1u << 18)
                                      : 1 + code[3] % kMaxRequestSectors;
    request.offset = first * kSectorSize;
    request.length = count * kSectorSize;
    AlignedBuffer buffer(request.op == Op::Read || request.op == Op::Write ? request.length : 0);
    request.data = buffer.data();
    const auto value = static_cast<std::uint8_t>(written_.size() + 1);
    if (request.op == Op::Write) std::fill_n(buffer.data(), buffer.size(), static_cast<std::byte>(value));
    int result = 1;
    bool done = false;
    execute(device, &request, &result, &done);
    REQUIRE(ring.run_until([&] { return done; }));
    REQUIRE(ring.unstable_writes() == 0);
    const bool inside = first <= sectors && count <= sectors - first;
    if (request.op == Op::Flush) {
      REQUIRE(result == 0 || result == -ENOSPC);
    } else if (!inside) {
      REQUIRE(result == -EINVAL);
    } else if (request.op == Op::Read) {
      REQUIRE(result == 0);
      check_read(first, count, buffer.span());
    } else {
      REQUIRE(result == 0 || result == -ENOSPC || result == -EFBIG);
      written_.push_back({first, count, request.op == Op::Write ? value : std::uint8_t{0}, result == 0});
    }
  }

  /// Whether a sector may have this content; `original` is what the image held.
  [[nodiscard]] bool legal(std::uint64_t sector, std::span<const std::byte> bytes,
                           std::span<const std::byte> original) const {
    for (auto w = written_.rbegin(); w != written_.rend(); ++w) {
      if (sector < w->first || sector >= w->first + w->count) continue;
      if (bytes[0] == static_cast<std::byte>(w->value) &&
          std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0)
        return true;
      if (w->certain) return false;
    }
    return std::memcmp(original.data(), bytes.data(), bytes.size()) == 0;
  }

  void check_read(std::uint64_t first, std::uint64_t count, std::span<const std::byte> data) {
    std::vector<std::byte> original(count * kSectorSize);
    REQUIRE(original_.read(first * kSectorSize, original).has_value());
    const std::span<const std::byte> expected(original);
    for (std::uint64_t s = 0; s < count; ++s) {
      const std::uint64_t at = s * kSectorSize;
      REQUIRE(legal(first + s, data.subspan(at, kSectorSize), expected.subspan(at, kSectorSize)));
    }
  }

  void compare(const image::Stack& after, std::uint64_t first, std::uint64_t count) {
    count = std::min<std::uint64_t>(count, 512);
    std::vector<std::byte> bytes(count * kSectorSize);
    REQUIRE(after.read(first * kSectorSize, bytes).has_value());
    check_read(first, count, bytes);
  }

  const Images& images_;
  image::Stack original_;
  io::MemoryFile& top_;
  std::vector<Written> written_;
  bool closed_ = false;
};

}  // namespace
}  // namespace ploop

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ploop;
  constexpr std::size_t kHead = 5;
  if (size < kHead) return 0;
  const std::uint8_t flags = data[0];
  std::span<const std::uint8_t> rest(data + kHead, size - kHead);
  const auto script =
      rest.first(std::min<std::size_t>(rest.size(), std::min<std::size_t>(data[2], kMaxSteps) * 4));
  rest = rest.subspan(script.size());
  const std::size_t first_length = std::min<std::size_t>(rest.size(), data[3] | (std::size_t{data[4]} << 8));

  Images images;
  images.raw_base = (flags & 2) != 0;
  auto base = fuzz::decode_input(rest.first(first_length), kLimitSectors);
  if (!base.file) return 0;
  images.files.push_back(std::move(base.file));
  if ((flags & 1) != 0) {
    auto upper = fuzz::decode_input(rest.subspan(first_length), kLimitSectors);
    if (!upper.file) return 0;
    images.files.push_back(std::move(upper.file));
  }
  io::MemoryFileOptions file_options;
  file_options.can_clone = (flags & 4) != 0;
  file_options.can_punch = (flags & 0x10) == 0;
  file_options.capacity = kCapacity;
  for (auto& file : images.files)
    file->set_options(file_options);

  auto deltas = images.open(nullptr, false, true);
  if (!deltas) return 0;
  auto original = image::Stack::make(std::move(*deltas));
  if (!original) return 0;
  io::SimRingOptions ring_options;
  ring_options.seed = data[1];
  ring_options.immediate_percent = (flags & 8) != 0 ? 100 : 0;
  io::MemoryFile top(*images.files.back());
  Life life(images, std::move(*original), top);
  life.run(script, ring_options);
  life.check_closed();
  return 0;
}
