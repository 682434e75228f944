// Resizing a disk that is not attached. Notes of "resize" have one of these phases:
//
//   work    a temporary delta above the disk gets all changes; the disk is untouched            undone by
//   removing it merge   the temporary delta is complete and is being merged into the top finished by merging
//   again cut     what lies behind the new end is of no use to anybody: image and descriptor shrink finished
//   by doing it again
#include <unistd.h>

#include <algorithm>

#include "base/log.hpp"
#include "base/text.hpp"
#include "base/units.hpp"
#include "descriptor/tree_edit.hpp"
#include "fs/balloon.hpp"
#include "fs/balloon_file.hpp"
#include "fs/block_device.hpp"
#include "fs/detached_mount.hpp"
#include "fs/gpt.hpp"
#include "fs/mkfs.hpp"
#include "fs/partition.hpp"
#include "fs/resize.hpp"
#include "fs/usage.hpp"
#include "image/grow.hpp"
#include "ops/attach.hpp"
#include "ops/cancel.hpp"
#include "ops/image_files.hpp"
#include "ops/merge.hpp"
#include "ops/new_delta.hpp"
#include "ops/prepare.hpp"
#include "ops/resize_steps.hpp"

namespace ploop::ops {
namespace {

constexpr const char* kWork = "work";
constexpr const char* kMerge = "merge";
constexpr const char* kCut = "cut";
constexpr const char* kSize = "size";

/// What is wanted, and what is there.
struct Job {
  OpenedDisk& disk;
  std::uint64_t size_sectors;
  std::vector<control::DeltaSpec> chain;
  ProgressCallback progress;
  [[nodiscard]] bool shrinks() const { return size_sectors < disk.disk.size_sectors; }
};

control::AttachSpec spec_of(const descriptor::Disk& disk, const std::string& path,
                            std::vector<control::DeltaSpec> chain) {
  control::AttachSpec spec;
  spec.deltas = std::move(chain);
  spec.raw_cluster_sectors = disk.cluster_sectors;
  spec.descriptor = path;
  return spec;
}

struct Found {
  std::string type;
  bool right = false;  ///< partition, file system and balloon are as wanted already
};

Result<std::uint64_t> balloon_bytes(const std::string& partition, const std::string& type) {
  // A journal that would need replaying is not replayed.
  fs::DetachedMount mount =
      TRY(fs::DetachedMount::create(partition, type, type == "xfs" ? "norecovery" : "noload", true));
  const auto balloon = TRY(fs::find_balloon(mount.directory()));
  return balloon ? balloon->size.value : 0;
}

Result<Found> look_at(const Attached& attached, std::uint64_t size_sectors, std::uint32_t cluster_sectors) {
  const fs::FileSystemFacts facts = TRY(fs::read_facts(attached.file_system()));
  Found found{facts.type, false};
  std::uint64_t wanted = size_sectors * kSectorSize;
  if (attached.partition) {
    const auto range = TRY(fs::read_partition(attached.device));
    const fs::PartitionRange planned =
        TRY(fs::plan_resized_partition(range->start, Sectors{size_sectors}, cluster_sectors));
    if (*range != planned) return found;
    wanted = to_bytes(planned.length).value;
  }
  // An xfs may stay a little smaller than its partition.
  const std::uint64_t tolerance = facts.is_ext() ? facts.block_size : 64 * kMiB;
  const std::uint64_t have = facts.size().value;
  found.right = have <= wanted && wanted - have < tolerance &&
                TRY(balloon_bytes(attached.file_system(), facts.type)) == 0;
  return found;
}

Result<Found> inspect(const Job& job) {
  control::AttachSpec spec = spec_of(job.disk.disk, job.disk.path, job.chain);
  spec.read_only = true;
  const Attached attached = TRY(attach(spec));
  auto found = look_at(attached, job.size_sectors, job.disk.disk.cluster_sectors);
  TRY(detach(attached.state));
  if (found && job.size_sectors != attached.state.size_sectors) found->right = false;
  return found;
}

Status empty_balloon(const std::string& partition) {
  fs::DetachedMount mount = TRY(fs::DetachedMount::create(partition));
  {
    fs::BalloonFile balloon = TRY(fs::BalloonFile::open(mount.directory()));
    if (TRY(balloon.size()).value != 0) TRY(balloon.resize(Bytes{}));
  }
  return mount.close();
}

/// The partition for the new size; the kernel knows it, too.
Result<Bytes> resize_partition(const Attached& attached, std::uint64_t size_sectors,
                               std::uint32_t cluster_sectors) {
  if (!attached.partition) return Bytes{size_sectors * kSectorSize};
  const fs::PartitionRange range =
      TRY(fs::resize_gpt(attached.device, Sectors{size_sectors}, cluster_sectors));
  TRY(fs::resize_kernel_partition(attached.device, range));
  return to_bytes(range.length);
}

Result<Bytes> planned_partition(const Attached& attached, std::uint64_t size_sectors,
                                std::uint32_t cluster_sectors) {
  if (!attached.partition) return Bytes{size_sectors * kSectorSize};
  const auto range = TRY(fs::read_partition(attached.device));
  return to_bytes(
      TRY(fs::plan_resized_partition(range->start, Sectors{size_sectors}, cluster_sectors)).length);
}

/// All that is done inside, on a device that may be thrown away.
Status change_inside(const Job& job, const Attached& attached) {
  const std::string& partition = attached.file_system();
  const std::uint32_t cluster = job.disk.disk.cluster_sectors;
  TRY(empty_balloon(partition));
  TRY(stop_if_cancelled());
  TRY(fs::check_ext_filesystem(partition, true));
  TRY(stop_if_cancelled());
  const Bytes planned = TRY(planned_partition(attached, job.size_sectors, cluster));
  const std::uint64_t have = TRY(fs::read_facts(partition)).size().value;
  if (planned.value < have) {
    const std::uint64_t smallest = TRY(fs::minimum_ext_size(partition)).value;
    if (smallest > planned.value) {
      return too_small(job.size_sectors,
                       job.size_sectors + round_up((smallest - planned.value) / kSectorSize, cluster));
    }
    TRY(fs::resize_unmounted_ext(partition, planned));
  }
  TRY(stop_if_cancelled());
  TRY(resize_partition(attached, job.size_sectors, cluster));
  if (planned.value > have) TRY(fs::resize_unmounted_ext(partition, planned));
  return stop_if_cancelled();
}

/// Only grows; the kernel does it in transactions, so that it can work on the disk itself.
Status grow_xfs(const Job& job) {
  control::AttachSpec spec = spec_of(job.disk.disk, job.disk.path, job.chain);
  spec.deltas.back().read_only = false;
  const Attached attached = TRY(attach(spec));
  const auto work = [&]() -> Status {
    fs::DetachedMount mount = TRY(fs::DetachedMount::create(attached.file_system()));
    const MountedDisk disk = TRY(mounted_disk(attached.state, mount.directory()));
    {
      fs::BalloonFile balloon = TRY(fs::BalloonFile::open(mount.directory()));
      if (TRY(balloon.size()).value != 0) TRY(balloon.resize(Bytes{}));
    }
    TRY(fill_device(disk));
    return mount.close();
  };
  Status done = work();
  Status detached = detach(attached.state);
  return done ? detached : done;
}

Status refuse_impossible(const Job& job, const Found& found) {
  if (!job.shrinks()) return {};
  if (found.type == "xfs") {
    return fail(
        ExitCode::Param,
        "An xfs can't be made smaller. Mount the disk and resize it then: a balloon takes the space, and the "
        "image file becomes smaller");
  }
  if (job.disk.disk.images.size() > 1) {
    return fail(
        ExitCode::Param,
        "A disk that has snapshots can't be made smaller while it is not attached: delete or merge the "
        "snapshots first, or mount it and resize it then (by a balloon)");
  }
  return {};
}

/// What the phases after "work" need; also after an interruption.
struct Rest {
  const std::string& path;
  descriptor::Disk& disk;
  Intent intent;
  std::uint64_t size_sectors = 0;
  bool resume = false;
  ProgressCallback progress = {};
};

bool top_is_raw(const descriptor::Disk& disk) {
  return disk.base_is_raw() && disk.images.size() == 1;
}

Status merge_overlay(const Rest& rest) {
  const std::string overlay = intent_file(rest.path, rest.intent.creates.front());
  const std::vector<control::DeltaSpec> chain = TRY(chain_deltas(rest.disk, rest.disk.top_uuid));
  MergeFiles files;
  files.sources = {overlay};
  files.destination = chain.back().path;
  files.raw = top_is_raw(rest.disk);
  files.nothing_below = chain.size() == 1;
  files.resume = rest.resume;
  files.progress = rest.progress;
  if (rest.resume && !files.raw) TRY(repair_chain({chain.back()}, true));
  TRY(merge_files(files));
  return {};
}

/// The image and the descriptor get the new size.
Status cut_disk(const Rest& rest) {
  const std::vector<control::DeltaSpec> chain = TRY(chain_deltas(rest.disk, rest.disk.top_uuid));
  const bool raw = top_is_raw(rest.disk);
  image::Delta top = TRY(open_delta(
      chain.back().path, raw ? image::Kind::Raw : image::Kind::Ploop1,
      {.allow_in_use = rest.resume, .writable = true, .raw_cluster_sectors = rest.disk.cluster_sectors}));
  if (raw) {
    TRY(image::resize_raw(top.file(), rest.size_sectors * kSectorSize, kSectorSize));
  } else {
    TRY(image::shrink_image(top, rest.size_sectors, {.drop_mapped = true}));
  }
  const format::Header shape =
      TRY(format::make_header(rest.size_sectors, rest.disk.cluster_sectors, format::Version::V2));
  rest.disk.size_sectors = rest.size_sectors;
  rest.disk.cylinders = shape.cylinders;
  rest.disk.heads = shape.heads;
  return descriptor::store(rest.disk, rest.path);
}

/// From phase "merge" on. Removes everything temporary but the note.
Status complete(Rest rest) {
  if (rest.intent.phase == kMerge) {
    TRY(merge_overlay(rest));
    rest.intent.phase = kCut;
    TRY(write_intent(rest.path, rest.intent));
  }
  if (rest.size_sectors < rest.disk.size_sectors || rest.resume) TRY(cut_disk(rest));
  TRY(remove_image(rest.path, intent_file(rest.path, rest.intent.creates.front())));
  ignore(fs::remove_usage_cache(rest.disk.directory), "the cache is only a little wrong");
  return {};
}

/// Fills the temporary delta.
Status work_above(const Job& job, const std::string& overlay) {
  std::vector<control::DeltaSpec> chain = job.chain;
  chain.push_back({overlay, control::ImageKind::Ploop1, false});
  control::AttachSpec spec = spec_of(job.disk.disk, job.disk.path, std::move(chain));
  spec.on_enospc = control::OnEnospc::Fail;  // on a full host it has to end, not to wait; all that was
                                             // written is thrown away
  const Attached attached = TRY(attach(spec));
  Status done = change_inside(job, attached);
  Status detached = detach(attached.state);
  if (!done || !detached) return done ? detached : done;
  // A daemon that was killed has not closed it; what is in it may be as after a power cut.
  if (!TRY(read_header(overlay)).is_in_use()) return {};
  return fail(ExitCode::Device, "The device on which the file system was resized ended before it was closed");
}

Status resize_above(const Job& job) {
  const std::string& path = job.disk.path;
  const format::Header shape = TRY(shape_above(job.disk.disk, job.disk.disk.top_uuid));
  const std::string overlay = descriptor::new_delta_file(job.disk.disk);
  Intent intent{.op = "resize", .phase = kWork, .parameters = {{kSize, std::to_string(job.size_sectors)}}};
  intent.creates.push_back(TRY(intent_name(path, overlay)));
  TRY(write_intent(path, intent));
  Rollback rollback;
  rollback.add([&] { ignore(remove_intent(path), "the first error is the one to report"); });
  TRY(create_delta(overlay, shape));
  rollback.add([&] { ::unlink(overlay.c_str()); });
  TRY(work_above(job, overlay));
  intent.phase = kMerge;
  TRY(write_intent(path, intent));
  rollback.commit();
  if (Status done = complete({path, job.disk.disk, intent, job.size_sectors, false, job.progress}); !done)
    return to_be_continued(std::move(done).error(), "the resize");
  return remove_intent(path);
}

}  // namespace

Status resize_stopped(OpenedDisk& disk, std::uint64_t size_sectors, const ProgressCallback& progress) {
  Job job{disk, size_sectors, TRY(chain_deltas(disk.disk, disk.disk.top_uuid)), progress};
  std::vector<control::DeltaSpec> writable = job.chain;
  writable.back().read_only = false;
  TRY(repair_chain(writable, true));
  const Found found = TRY(inspect(job));
  if (found.right) return {};
  TRY(refuse_impossible(job, found));
  return found.type == "xfs" ? grow_xfs(job) : resize_above(job);
}

bool resize_has_begun(const Intent& intent) {
  return intent.op == "resize" && intent.phase != kWork;
}

Result<Outcome> finish_resize(Interrupted& work) {
  const auto wanted = work.intent.parameters.find(kSize);
  const auto size = wanted == work.intent.parameters.end() ? std::nullopt : parse_c_integer(wanted->second);
  if (!size || *size == 0 || *size > work.disk.size_sectors || work.intent.creates.size() != 1) {
    return fail(ExitCode::Busy, "the note does not say what was being done");
  }
  if (work.intent.phase == kWork) {
    TRY(remove_image(work.path, intent_file(work.path, work.intent.creates.front())));
    return Outcome::Undone;
  }
  if (work.intent.phase != kMerge && work.intent.phase != kCut)
    return fail(ExitCode::Busy, "the note has an unknown phase");
  TRY(complete({work.path, work.disk, work.intent, *size, true, {}}));
  return Outcome::Finished;
}

}  // namespace ploop::ops
