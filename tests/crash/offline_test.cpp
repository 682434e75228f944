// Power cuts during merge, grow and shrink of closed images: in every state that may be left the guest of the
// stack reads as before, and repeating the work ends right. And proof that this can fail: each barrier is
// left out once.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <unordered_set>

#include "crash_states.hpp"
#include "harness.hpp"
#include "image/check.hpp"
#include "image/grow.hpp"
#include "image/merge.hpp"
#include "image/test_borrowed.hpp"
#include "image/test_stack.hpp"
#include "io/forwarding_file.hpp"

namespace ploop::crash {
namespace {

using namespace image::testing;
using image::Delta;
using Bytes = std::vector<std::byte>;

/// Swallows one barrier: says that it was done and does nothing.
class Forgetful final : public io::ForwardingFile<> {
 public:
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};
  Forgetful(io::BlockFile& file, std::uint64_t which) : ForwardingFile(file), which_(which) {}
  int sync() override { return syncs_++ == which_ ? 0 : ForwardingFile::sync(); }

 private:
  std::uint64_t which_;
  std::uint64_t syncs_ = 0;
};

/// One piece of offline work on the lowest file of a stack.
struct Work {
  StackShape shape;
  Files files;  ///< base first
  Bytes view;   ///< what the guest of the stack reads, at all times
  Bytes alone;  ///< what the base by itself reads once it is closed again
  std::function<Status(std::unique_ptr<io::BlockFile>)> run;  ///< on the base's file; may be repeated
  /// Everything the guest of these files can see.
  std::function<Bytes(const Files&, const StackShape&, bool allow_in_use)> look = guest_view;
};

/// The same for an image that is large and nearly empty: mapped clusters with their numbers.
Bytes mapped_view(const Files& files, const StackShape&, bool allow_in_use) {
  const auto delta = open_copy(*files.front(), {.allow_in_use = allow_in_use});
  if (!delta) throw std::runtime_error(delta.error().message());
  Bytes view;
  for (std::uint32_t guest = 0; guest < delta->table().size(); ++guest) {
    if (delta->table()[guest] == 0) continue;
    const std::size_t at = view.size();
    view.resize(at + 4 + delta->cluster_bytes());
    std::memcpy(view.data() + at, &guest, 4);
    delta->file().read(std::span(view).subspan(at + 4), delta->table()[guest] * delta->cluster_bytes());
  }
  return view;
}

StackShape merge_shape(std::mt19937_64& random) {
  StackShape shape;
  shape.version = random() % 2 == 0 ? format::Version::V1 : format::Version::V2;
  shape.can_clone = random() % 2 == 0;
  shape.clusters = {4 + random() % 8, 12 + random() % 8};
  if (random() % 2 == 0) shape.clusters.push_back(shape.clusters.back() + random() % 4);
  return shape;
}

Bytes alone_view(const Work& work, const io::MemoryFile& base) {
  Files one;
  one.push_back(copy_of(base));
  StackShape single = work.shape;
  single.clusters.resize(1);
  return work.look(one, single, false);
}

Work make_merge(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Work work;
  work.shape = merge_shape(random);
  work.files = make_files(work.shape, random);
  work.view = guest_view(work.files, work.shape);
  work.alone = work.view;
  return work;
}

Status run_merge(const Work& work, std::unique_ptr<io::BlockFile> file) {
  std::vector<Delta> sources;
  for (std::size_t level = work.files.size(); level-- > 1;)
    sources.push_back(TRY(open_level(copy_of(*work.files[level]), work.shape, level)));
  Delta base = TRY(open_level(std::move(file), work.shape, 0, true, true));
  TRY(image::merge(sources, base,
                   {.batch = {.copied_bytes = 64 * kKiB, .guest_clusters = 5, .run_bytes = 128 * kKiB}}));
  return {};
}

Status run_grow(const Work& work, std::uint64_t clusters, std::unique_ptr<io::BlockFile> file) {
  Delta base = TRY(open_level(std::move(file), work.shape, 0, true, true));
  return image::grow_image(base, clusters * work.shape.cluster_sectors);
}

/// Content of a memory file for the simulator, and back.
Content content_of(io::MemoryFile& file) {
  Content content;
  Bytes bytes = bytes_of(file);
  content.write(bytes, 0);
  content.set_size(bytes.size());
  return content;
}
std::unique_ptr<io::MemoryFile> file_of(const Content& content) {
  auto file = std::make_unique<io::MemoryFile>("state");
  Bytes bytes(content.size());
  content.read(bytes, 0);
  file->write(bytes, 0);
  file->truncate(content.size());
  return file;
}

/// "" or what is wrong with this state of the base.
std::string judge(const Work& work, const Content& state, bool begun, bool second_life) {
  try {
    Files now;
    now.push_back(file_of(state));
    for (std::size_t level = 1; level < work.files.size(); ++level)
      now.push_back(copy_of(*work.files[level]));
    if (work.look(now, work.shape, true) != work.view) return "the stack reads something else";
    const bool marked = open_copy(*now[0], {.allow_in_use = true})->header().is_in_use();
    if (begun && !marked && alone_view(work, *now[0]) != work.alone) return "closed, but not complete";
    if (!second_life) return "";
    if (const Status again = work.run(std::make_unique<Borrowed>(*now[0])); !again)
      return again.error().message();
    if (alone_view(work, *now[0]) != work.alone) return "repeating it ends wrong";
    const auto report = image::check_image(*now[0], {.force = true, .check = true, .read_only = true});
    return report && report->exit == ExitCode::Ok ? "" : "check finds something after repeating it";
  } catch (const std::exception& error) {
    return error.what();
  }
}

/// Does the work once, with one barrier left out, and looks at every state. "" or the first violation.
std::string power_cut(const Work& work, std::uint64_t forgotten, std::uint64_t seed, std::uint64_t* states,
                      std::uint64_t* syncs = nullptr) {
  io::SimDisk disk;
  auto recorded = std::make_unique<io::RecordingFile>(disk, copy_of(*work.files[0]));
  Forgetful file(*recorded, forgotten);
  if (const Status done = work.run(std::make_unique<Borrowed>(static_cast<io::BlockFile&>(file))); !done)
    return done.error().message();
  const auto is_sync = [](const io::Recorded& entry) { return entry.kind == io::OpKind::Sync; };
  if (syncs != nullptr)
    *syncs = static_cast<std::uint64_t>(std::count_if(disk.log().begin(), disk.log().end(), is_sync));
  const auto first_sync = std::find_if(disk.log().begin(), disk.log().end(), is_sync);
  const std::uint64_t begun = first_sync == disk.log().end() ? ~std::uint64_t{0} : first_sync->completed;

  auto before = copy_of(*work.files[0]);
  CrashStates crash(content_of(*before), disk.log(), work.shape.cluster_sectors * kSectorSize);
  std::mt19937_64 random(seed);
  std::unordered_set<std::uint64_t> seen;
  std::string violation;
  const auto look = [&](std::uint64_t time, std::size_t operation) {
    crash.advance(time);
    crash.enumerate(operation, {}, random, [&](const std::vector<Fate>& fates) {
      if (!violation.empty()) return;
      const Content state = crash.build(fates);
      if (!seen.insert(state.hash() * 2 + (time > begun ? 1 : 0)).second) return;
      const std::string wrong = judge(work, state, time > begun, seen.size() % 4 == 0);
      ++*states;
      if (!wrong.empty())
        violation = fmt::format("{}\n  pending:\n{}{}", wrong, crash.describe(fates), crash.recent(16));
    });
  };
  for (std::size_t i = 0; i < disk.log().size() && violation.empty(); ++i) {
    if (!is_sync(disk.log()[i])) look(disk.log()[i].submitted + 1, i);
  }
  if (violation.empty()) look(disk.now() + 1, CrashStates::kAll);
  return violation;
}

void with_merge(std::uint64_t seed, const std::function<void(const Work&)>& use) {
  Work work = make_merge(seed);
  work.run = [&work](std::unique_ptr<io::BlockFile> file) { return run_merge(work, std::move(file)); };
  use(work);
}

void with_grow(std::uint64_t seed, const std::function<void(const Work&)>& use) {
  std::mt19937_64 random(seed);
  const auto version = random() % 2 == 0 ? format::Version::V1 : format::Version::V2;
  // The table of 8176 clusters fills its cluster; the image has clusters right behind it.
  Work work;
  work.shape = {.version = version, .clusters = {8176}, .can_clone = random() % 2 == 0};
  work.files.push_back(make_image({.clusters = 8176, .version = version}, {{3, 2}, {70, 1}, {8000, 3}}));
  work.files[0]->set_options({.can_clone = work.shape.can_clone});
  work.look = mapped_view;
  work.view = work.alone = mapped_view(work.files, work.shape, false);
  const std::uint64_t clusters = 8177 + random() % 16000;
  work.run = [&work, clusters](std::unique_ptr<io::BlockFile> file) {
    return run_grow(work, clusters, std::move(file));
  };
  use(work);
}

TEST(OfflineWork, MergeSurvivesEveryPowerCut) {
  const std::string violation = run_seeds(scaled(60), [](std::uint64_t seed) {
    std::string wrong;
    std::uint64_t states = 0;
    with_merge(seed, [&](const Work& work) { wrong = power_cut(work, Forgetful::kNone, seed, &states); });
    count("merge_states", states);
    return wrong;
  });
  EXPECT_TRUE(violation.empty()) << violation;
  EXPECT_GE(counted("merge_states"), scaled(4000));
}

TEST(OfflineWork, GrowSurvivesEveryPowerCut) {
  const std::string violation = run_seeds(scaled(12), [](std::uint64_t seed) {
    std::string wrong;
    std::uint64_t states = 0;
    with_grow(seed, [&](const Work& work) { wrong = power_cut(work, Forgetful::kNone, seed, &states); });
    count("grow_states", states);
    return wrong;
  });
  EXPECT_TRUE(violation.empty()) << violation;
  EXPECT_GE(counted("grow_states"), scaled(250));
}

/// Every barrier of a merge is there for a reason: for each kind of it, some merge goes wrong without it.
TEST(OfflineWork, AMergeThatForgetsABarrierIsCaught) {
  std::uint64_t caught = 0, tried = 0, states = 0;
  for (std::uint64_t seed = first_seed(); seed < first_seed() + 6; ++seed) {
    with_merge(seed, [&](const Work& work) {
      std::uint64_t syncs = 0;
      ASSERT_EQ(power_cut(work, Forgetful::kNone, seed, &states, &syncs), "");
      for (std::uint64_t which = 0; which < syncs; ++which, ++tried)
        caught += power_cut(work, which, seed, &states).empty() ? 0 : 1;
    });
  }
  count("merge_barriers_forgotten", tried);
  count("merge_barriers_caught", caught);
  // Some are there for the second of two cases only, and the sources hide much of what is wrong below them.
  EXPECT_GE(caught * 5, tried) << caught << " of " << tried;
}

}  // namespace
}  // namespace ploop::crash
