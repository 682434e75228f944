// The judges of a crash state.
#include "verify.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "base/fd.hpp"
#include "base/subprocess.hpp"
#include "image/check.hpp"
#include "image/stack.hpp"
#include "session.hpp"

namespace ploop::crash {

std::string read_state(const Disk& disk, const Content& state, bool must_be_closed, View* view) {
  const auto delta = open_top(disk, std::make_unique<ContentFile>(state), !must_be_closed, true);
  if (!delta) return "open: " + delta.error().message();
  view->sectors = disk.below;
  if (disk.shape.raw_top()) {
    if (state.size() != disk.shape.sectors() * 512) return "the length of the raw image changed";
    for (std::uint64_t s = 0; s < view->sectors.size(); ++s)
      view->sectors[s] = read_stamp(state.sector(s * 512), s);
    return "";
  }
  const std::uint32_t per_cluster = disk.shape.cluster_sectors;
  for (std::uint64_t guest = 0; guest < disk.shape.clusters; ++guest) {
    const std::uint64_t cluster = delta->table()[guest];
    if (cluster == 0) continue;
    const std::uint64_t start = cluster * disk.shape.cluster_bytes();
    for (std::uint32_t s = 0; s < per_cluster; ++s) {
      const std::uint64_t number = guest * per_cluster + s;
      view->sectors[number] = read_stamp(state.sector(start + std::uint64_t{s} * 512), number);
    }
  }
  return "";
}

std::string compare(const Oracle& oracle, const View& view) {
  for (std::uint64_t s = 0; s < view.sectors.size(); ++s) {
    if (oracle.legal(s, view.sectors[s])) continue;
    const std::string found =
        view.sectors[s] == kAlien ? "alien bytes" : fmt::format("generation {}", view.sectors[s]);
    return fmt::format("sector {} is {}, legal: {}", s, found, oracle.legal_text(s));
  }
  return "";
}

std::string scan_state(const Disk& disk, const Content& state, bool clean) {
  if (disk.shape.raw_top()) return "";
  ContentFile file(state);
  image::CheckOptions options;
  options.hard_force = true;
  options.force = true;
  options.check = true;
  options.read_only = true;
  const auto scan = image::scan_image(file, options);
  if (!scan) return "check: " + scan.error().message();
  for (const image::Finding& finding : scan->findings) {
    const bool leak = finding.kind == image::FindingKind::Tail || finding.kind == image::FindingKind::Hole ||
                      finding.kind == image::FindingKind::MoreHoles ||
                      finding.kind == image::FindingKind::SparseClusters;
    const bool after_crash =
        finding.kind == image::FindingKind::InUse || finding.kind == image::FindingKind::EmptyFlag;
    if (finding.kind == image::FindingKind::Tail && clean)
      return "check after close: " + finding.text("image", 64);
    if (leak || (after_crash && !clean)) continue;
    return "check: " + finding.text("image", scan->header.cluster_sectors);
  }
  return "";
}

namespace {

std::string read_through_stack(const Disk& disk, const Content& state, bool allow_in_use, const View& view) {
  auto deltas = open_stack(disk, std::make_unique<ContentFile>(state), allow_in_use, false);
  if (!deltas) return "open stack: " + deltas.error().message();
  const auto stack = image::Stack::make(std::move(*deltas));
  if (!stack) return "stack: " + stack.error().message();
  std::vector<std::byte> bytes(disk.shape.sectors() * 512);
  const Status status = stack->read(0, bytes);
  if (!status) return "stack read: " + status.error().message();
  for (std::uint64_t s = 0; s < view.sectors.size(); ++s) {
    const Generation generation = read_stamp(bytes.data() + s * 512, s);
    if (generation == view.sectors[s]) continue;
    return fmt::format("stack read of sector {}: {}, expected generation {}", s,
                       describe_sector(bytes.data() + s * 512), view.sectors[s]);
  }
  return "";
}

}  // namespace

std::string use_state(const Disk& disk, const Content& state, const View& view, std::uint64_t seed) {
  if (std::string wrong = read_through_stack(disk, state, true, view); !wrong.empty()) return wrong;
  Disk after = disk;
  after.top = state;
  after.initial = view.sectors;
  after.next_generation = 1'000'000;
  SessionOptions options;
  options.seed = seed;
  Session session(after, options);
  std::mt19937_64 rng(seed);
  int writes = 6;
  const auto source = [&](unsigned, Step* step) {
    if (writes == 0) return false;
    --writes;
    *step = Step{};
    step->op = rng() % 3 == 0 ? engine::Request::Op::WriteZeroes : engine::Request::Op::Write;
    step->unmap = rng() % 2 == 0;
    step->first = rng() % disk.shape.sectors();
    step->count = 1 + rng() % std::min<std::uint64_t>(disk.shape.cluster_sectors * 2,
                                                      disk.shape.sectors() - step->first);
    return true;
  };
  if (!session.open() || !session.read_back() || !session.run(2, source))
    return "second life: " + session.violation();
  if (!session.close()) return "second life: close failed";
  Oracle oracle(Oracle::Settles::Acknowledged, after.initial);
  for (const OracleEvent& event : session.events())
    oracle.apply(event);
  const Content closed = session.content();
  View again;
  std::string wrong = read_state(disk, closed, true, &again);
  if (wrong.empty()) wrong = compare(oracle, again);
  if (wrong.empty()) wrong = scan_state(disk, closed, true);
  if (wrong.empty()) wrong = read_through_stack(disk, closed, false, again);
  return wrong.empty() ? "" : "second life, closed: " + wrong + "\n" + session.transcript();
}

bool qemu_available() {
  return find_program("qemu-img").has_value();
}

std::string qemu_state(const Disk& disk, const Content& state, const View& view) {
  std::string folder = (std::getenv("TMPDIR") != nullptr ? std::getenv("TMPDIR") : "/tmp") +
                       std::string("/ploop-crash-XXXXXX");
  if (::mkdtemp(folder.data()) == nullptr) return "mkdtemp failed";
  const std::string image = folder + "/state.hdd";
  const std::string raw = folder + "/state.raw";
  std::vector<std::byte> bytes(state.size());
  state.read(bytes, 0);
  std::string wrong;
  if (!write_file_atomic(image, std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()),
                         0600)) {
    wrong = "cannot write " + image;
  }
  if (wrong.empty()) {
    const auto check = run_program({"qemu-img", "check", "-f", "parallels", image});
    if (!check) wrong = check.error().message();
    // 1: internal error, 2: corruption (of which the unclean mark counts as one), 3: leaks.
    const bool only_unclean = check && check->output.find("1 errors were found") != std::string::npos &&
                              check->output.find("not closed correctly") != std::string::npos;
    if (wrong.empty() && check->status != 0 && check->status != 3 && !(check->status == 2 && only_unclean)) {
      wrong = fmt::format("qemu-img check: status {}: {}", check->status, check->output);
    }
  }
  if (wrong.empty()) {
    const auto convert = run_program({"qemu-img", "convert", "-f", "parallels", "-O", "raw", image, raw});
    if (!convert || convert->status != 0)
      wrong = "qemu-img convert: " + (convert ? convert->output : convert.error().message());
  }
  if (wrong.empty()) {
    const auto text = read_file(raw, disk.shape.sectors() * 512);
    if (!text || text->size() != disk.shape.sectors() * 512) wrong = "qemu-img convert: wrong length";
    for (std::uint64_t s = 0; wrong.empty() && s < view.sectors.size(); ++s) {
      const auto* const sector = reinterpret_cast<const std::byte*>(text->data()) + s * 512;
      if (read_stamp(sector, s) != view.sectors[s]) {
        wrong = fmt::format("qemu-img reads sector {} as {}, ours is generation {}", s,
                            describe_sector(sector), view.sectors[s]);
      }
    }
  }
  ::unlink(image.c_str());
  ::unlink(raw.c_str());
  ::rmdir(folder.c_str());
  return wrong;
}

}  // namespace ploop::crash
