#include "ops/init.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/log.hpp"
#include "base/paths.hpp"
#include "descriptor/store.hpp"
#include "fs/balloon.hpp"
#include "fs/detached_mount.hpp"
#include "fs/gpt.hpp"
#include "ops/attach.hpp"
#include "ops/cancel.hpp"
#include "ops/running.hpp"

namespace ploop::ops {
namespace {

using image::CreateFormat;

/// A file system inside makes the disk useless above this size.
constexpr std::uint64_t kMaxWithFileSystem = 16 * kTiB / kSectorSize;

/// The field of version 1 is 32 bits wide; whole clusters end below that.
constexpr std::uint64_t kMaxV1 = 0xffffffff;

/// Names and numbers, fixed before anything is touched.
struct Plan {
  std::string shown_image;  ///< as the user wrote it
  std::string shown_descriptor;
  std::string image;       ///< absolute
  std::string work_image;  ///< the image until it is complete
  std::string descriptor;  ///< absolute
  std::uint64_t size_sectors = 0;
};

/// Beside the image, so that giving it its own name never crosses file systems.
std::string working_name(const std::string& image) {
  const std::string directory = directory_of(image);
  return (directory == "/" ? "" : directory) + "/." + base_name(image) + ".ploop-init";
}

bool same_file(const std::string& a, const std::string& b) {
  struct stat first {};
  struct stat second {};
  return ::lstat(a.c_str(), &first) == 0 && ::lstat(b.c_str(), &second) == 0 &&
         first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

Status refuse_existing(const std::string& path, const std::string& shown) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0)
    return fail(errno_error(ExitCode::Param, EEXIST, "Can't create " + shown));
  return {};
}

/// The image has its name already, but still its working name, too: an earlier init was killed between giving
/// the name and storing the descriptor. Until that is done the image is ours to drop.
bool half_published(const Plan& plan) {
  return same_file(plan.image, plan.work_image);
}

Status refuse_existing_image(const Plan& plan) {
  if (half_published(plan)) return {};
  return refuse_existing(plan.image, plan.shown_image);
}

/// Up to a whole cluster, except at the very end of what is possible, where it goes down.
Result<std::uint64_t> rounded_size(const InitOptions& options) {
  const std::uint64_t unit = options.cluster_sectors;
  std::uint64_t max = format::max_size_sectors(options.version, options.cluster_sectors);
  if (options.version == format::Version::V1) max = kMaxV1;
  if (options.format == CreateFormat::Raw) max = descriptor::kSizeLimitSectors - unit;
  if (options.file_system.type != fs::FsType::None) max = std::min(max, kMaxWithFileSystem);
  if (options.size_sectors > max) {
    return fail(ExitCode::Param,
                "An incorrect block device size is specified: " + std::to_string(options.size_sectors) +
                    " sectors. The maximum allowed size is " + std::to_string(max) + " sectors");
  }
  const std::uint64_t up = round_up(options.size_sectors, unit);
  return up <= max ? up : round_down(options.size_sectors, unit);
}

Result<Plan> make_plan(const InitOptions& options) {
  Plan plan;
  plan.shown_image = options.image;
  const bool has_directory = options.image.find('/') != std::string::npos;
  plan.shown_descriptor = (has_directory ? options.image.substr(0, options.image.rfind('/') + 1) : "") +
                          std::string(descriptor::kFileName);
  plan.image = TRY(canonical_new_path(options.image, ExitCode::Create));
  const std::string directory = directory_of(plan.image) == "/" ? "" : directory_of(plan.image);
  plan.descriptor = directory + "/" + std::string(descriptor::kFileName);
  plan.work_image = working_name(plan.image);
  TRY(refuse_existing(plan.descriptor, plan.shown_descriptor));
  const std::string name = base_name(plan.image);
  if (name.empty() || name == "." || name == ".." || descriptor::is_descriptor_name(name)) {
    return fail(ExitCode::Param, "Can't create " + options.image + ": not a name for an image");
  }
  if (!format::valid_cluster_sectors(options.cluster_sectors)) {
    return fail(ExitCode::Param, "Incorrect blocksize specified: " + std::to_string(options.cluster_sectors));
  }
  plan.size_sectors = TRY(rounded_size(options));
  if (options.file_system.type != fs::FsType::None) {
    TRY(fs::plan_partition(Sectors{plan.size_sectors}, options.cluster_sectors));
  }
  TRY(refuse_existing_image(plan));
  return plan;
}

/// An earlier init of this image was killed: its device may still run. The descriptor lock is held, so nobody
/// works on it.
Status clear_interrupted(const Plan& plan) {
  for (const DeviceState& device : TRY(if_visible(devices_using(plan.work_image)))) {
    for (const fs::MountPoint& mount : TRY(mounts_of(device)))
      TRY(fs::unmount_filesystem(mount));
    // Its mkfs may still be running, without a parent; that ends soon. What could not be written back does
    // not matter.
    const Status detached = detach(device);
    if (!detached && !TRY(devices_using(plan.work_image)).empty()) return detached;
  }
  if (half_published(plan)) ::unlink(plan.image.c_str());
  if (::unlink(plan.work_image.c_str()) == 0) log(LogLevel::Command, "Dropping image {}", plan.work_image);
  return {};
}

void log_creation(const InitOptions& options, const Plan& plan) {
  const int version = static_cast<int>(options.version);
  switch (options.format) {
    case CreateFormat::Raw:
      log(LogLevel::Progress, "Creating raw delta {} size={} sectors", plan.shown_image, plan.size_sectors);
      return;
    case CreateFormat::Preallocated:
      log(LogLevel::Progress, "Creating preallocated delta {} bs={} size={} sectors v{}", plan.shown_image,
          options.cluster_sectors, plan.size_sectors, version);
      return;
    case CreateFormat::Expanded:
      log(LogLevel::Progress, "Creating delta {} bs={} size={} sectors v{}", plan.shown_image,
          options.cluster_sectors, plan.size_sectors, version);
  }
}

/// The first file of the new file system, which gives it the inode that others expect.
Status add_balloon(const Attached& attached, const fs::MkfsOptions& options) {
  fs::DetachedMount mount =
      TRY(fs::DetachedMount::create(attached.file_system(), std::string(fs::fs_type_name(options.type))));
  TRY(fs::create_balloon(mount.directory()));
  return mount.close();
}

Status fill_device(const InitOptions& options, Attached& attached) {
  TRY(fs::create_gpt(attached.device, options.cluster_sectors));
  TRY(refresh_partition(attached));
  TRY(stop_if_cancelled());
  TRY(fs::make_filesystem(attached.file_system(), options.file_system));
  TRY(stop_if_cancelled());
  return add_balloon(attached, options.file_system);
}

Status make_file_system(const InitOptions& options, const Plan& plan) {
  control::AttachSpec spec;
  spec.raw_cluster_sectors = options.cluster_sectors;
  const bool raw = options.format == CreateFormat::Raw;
  spec.deltas = {{plan.work_image, raw ? control::ImageKind::Raw : control::ImageKind::Ploop1, false}};
  spec.transport = options.transport;
  spec.on_enospc = control::OnEnospc::Fail;  // mkfs on a full host has to end, not to wait
  Attached attached = TRY(attach(spec));
  Status filled = fill_device(options, attached);
  Status stopped = detach(attached.state);
  if (!filled) return filled;
  if (!stopped) return fail(Error{ExitCode::Umount, stopped.error().sys_errno, stopped.error().what});
  return {};
}

/// Gives the complete image its name, never over another file. The working name stays as well until the
/// descriptor is stored: it tells the next init that an image without a descriptor is the rest of a killed
/// one.
Status publish(const Plan& plan) {
  const char* from = plan.work_image.c_str();
  const char* to = plan.image.c_str();
  if (::link(from, to) != 0) {
    if (errno == EEXIST) return fail_errno(ExitCode::Param, "Can't create " + plan.shown_image);
    // A file system without hard links.
    if (::renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) != 0) {
      return fail_errno(errno == EEXIST ? ExitCode::Param : ExitCode::Rename,
                        "Can't create " + plan.shown_image);
    }
  }
  return sync_parent_directory(plan.image);
}

Status store_descriptor(const InitOptions& options, const Plan& plan, const format::Header& header) {
  descriptor::NewDisk p;
  p.directory = directory_of(plan.descriptor);
  p.image = plan.image;
  p.size_sectors = plan.size_sectors;
  p.cluster_sectors = options.cluster_sectors;
  p.cylinders = header.cylinders;
  p.heads = header.heads;
  p.mode = options.format == CreateFormat::Raw            ? descriptor::Mode::Raw
           : options.format == CreateFormat::Preallocated ? descriptor::Mode::Preallocated
                                                          : descriptor::Mode::Expanded;
  descriptor::Disk disk = descriptor::new_disk(p);
  log(LogLevel::Detail, "Adding snapshot {}", kTopUuid);
  return descriptor::store(disk, plan.shown_descriptor);
}

/// Everything below happens under the descriptor's lock; a failure leaves nothing behind.
Status build(const InitOptions& options, const Plan& plan) {
  Rollback rollback;
  rollback.add([&] { ignore(clear_interrupted(plan), "the first error is the one to report"); });
  log_creation(options, plan);
  image::CreateOptions create;
  create.format = options.format;
  create.version = options.version;
  create.size_sectors = plan.size_sectors;
  create.cluster_sectors = options.cluster_sectors;
  create.cancelled = cancel_requested;
  create.progress = options.progress;
  const image::CreateResult created = TRY(image::create_image(plan.work_image, create));
  if (!created.warning.empty()) log_error("{}: {}", plan.shown_image, created.warning);
  if (options.file_system.type != fs::FsType::None) TRY(make_file_system(options, plan));
  TRY(stop_if_cancelled());
  TRY(publish(plan));
  rollback.add([&] { ::unlink(plan.image.c_str()); });
  // One that was stored and is not durable would name an image that is gone.
  rollback.add([&] { ::unlink(plan.descriptor.c_str()); });
  TRY(store_descriptor(options, plan, created.header));
  rollback.commit();
  ::unlink(plan.work_image.c_str());  // gone already where publishing was a rename
  return {};
}

}  // namespace

std::optional<fs::FsType> parse_file_system(std::string_view name) {
  return fs::parse_fs_type(name);
}

Status init(const InitOptions& options) {
  const Plan plan = TRY(make_plan(options));
  descriptor::DescriptorLock lock = TRY(descriptor::DescriptorLock::acquire(plan.descriptor));
  // Again, now that nobody else can be making one.
  TRY(refuse_existing(plan.descriptor, plan.shown_descriptor));
  TRY(refuse_existing_image(plan));
  const CleanupSection section;
  Status done = clear_interrupted(plan);
  if (done) done = build(options, plan);
  if (!done) lock.remove_file();
  return done;
}

void drop_working_name(const std::string& image) {
  const std::string name = working_name(image);
  if (same_file(image, name) && ::unlink(name.c_str()) == 0) log(LogLevel::Command, "Dropping {}", name);
}

}  // namespace ploop::ops
