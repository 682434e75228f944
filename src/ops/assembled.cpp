#include "ops/assembled.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/fd.hpp"
#include "base/paths.hpp"
#include "base/text.hpp"
#include "control/registry.hpp"
#include "descriptor/store.hpp"
#include "ops/attach.hpp"
#include "ops/cancel.hpp"
#include "ops/prepare.hpp"
#include "ops/running.hpp"

namespace ploop::ops {
namespace {

constexpr std::size_t kMaxNote = 8u << 20;

std::string notes_directory() {
  return run_directory() + "/stopped";
}
std::string note_path(int number) {
  return notes_directory() + "/ploop" + std::to_string(number);
}

tl::unexpected<Error> no_device(const std::string& name) {
  return fail(
      errno_error(ExitCode::Device, ENOENT,
                  "Can't open device " + name + ": nothing is stopped there; 'ploop mount' attaches a disk"));
}

Result<int> number_of(const std::string& name) {
  const int number = device_number(name);
  if (number < 0) return fail(errno_error(ExitCode::Device, ENODEV, "Can't open device " + name));
  return number;
}

Status refuse_running(const std::string& name, int number, const std::string& advice) {
  if (!TRY(control::find_device(number))) return {};
  return fail(errno_error(ExitCode::DeviceIoctl, EBUSY, name + " is running; " + advice));
}

control::AttachSpec spec_of(const DeviceState& state) {
  control::AttachSpec spec;
  spec.device_number = state.number;
  spec.deltas = state.deltas;
  spec.raw_cluster_sectors = state.cluster_sectors;
  spec.read_only = state.read_only;
  spec.component = state.component;
  spec.descriptor = state.descriptor;
  spec.transport = state.transport;
  spec.require_sandbox = state.sandbox_required;
  spec.on_enospc = state.on_enospc;
  return spec;
}

Status remember(const control::AttachSpec& spec) {
  const std::string directory = notes_directory();
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
    return fail_errno(ExitCode::Create, "make " + directory);
  // The order names the files; which ones they are stands in a line of its own.
  const std::string text =
      control::encode_attach_spec(spec) + "\n" + control::encode_files(spec.deltas) + "\n";
  return write_file_atomic(note_path(spec.device_number), text, 0600);
}

Result<control::AttachSpec> recall(const std::string& name) {
  const int number = TRY(number_of(name));
  const auto text = read_file(note_path(number), kMaxNote);
  if (!text) return text.error().sys_errno == ENOENT ? no_device(name) : fail(text.error());
  const std::size_t end = text->find('\n');
  control::AttachSpec spec = TRY(control::decode_attach_spec(text->substr(0, end)));
  const std::string files(end == std::string::npos ? "" : trim(std::string_view(*text).substr(end)));
  if (!files.empty()) TRY(control::decode_files(files, spec.deltas));
  return spec;
}

Status forget(int number) {
  if (::unlink(note_path(number).c_str()) != 0 && errno != ENOENT) {
    return fail_errno(ExitCode::Unlink, "remove " + note_path(number));
  }
  return {};
}

/// Writing to what was the top while the disk has another one by now would destroy a snapshot.
Status refuse_changed(const control::AttachSpec& spec) {
  const auto changed = [](const std::string& whose) {
    return fail(ExitCode::DeviceIoctl,
                "The images of " + whose +
                    " are not those that were stopped; use 'ploop mount' and 'ploop clear -d'");
  };
  const auto is_another = [](const control::DeltaSpec& d) { return d.file && file_id(d.path) != d.file; };
  if (std::ranges::any_of(spec.deltas, is_another))
    return changed(spec.descriptor.empty() ? device_path(spec.device_number) : spec.descriptor);
  if (spec.descriptor.empty() || spec.read_only) return {};
  const auto disk = descriptor::load(spec.descriptor);
  descriptor::PathPolicy same_files;  // whatever was permitted when it was attached
  for (const control::DeltaSpec& delta : spec.deltas)
    same_files.allow_external.push_back(delta.path);
  if (disk) {
    const auto now = chain_deltas(*disk, disk->top_uuid, same_files);
    const auto same = [](const control::DeltaSpec& a, const control::DeltaSpec& b) {
      return a.path == b.path;
    };
    if (now && std::ranges::equal(*now, spec.deltas, same)) return {};
  }
  return changed(spec.descriptor);
}

}  // namespace

Status stop_device(const std::string& device) {
  const DeviceState state = TRY(device_by_name(device));
  TRY(remember(spec_of(state)));
  Status done = detach(state, std::chrono::milliseconds(0));
  if (!done) TRY(forget(state.number));
  return done;
}

Status start_device(const std::string& device) {
  const int number = TRY(number_of(device));
  TRY(refuse_running(device, number, "there is nothing to start"));
  const control::AttachSpec spec = TRY(recall(device));
  TRY(refuse_changed(spec));
  TRY(refuse_unsound(spec.deltas));
  const CleanupSection section;
  Attached attached = TRY(attach(spec));
  TRY(attached.lifeline.keep());
  return forget(number);
}

Status clear_device(const std::string& device) {
  const int number = TRY(number_of(device));
  TRY(refuse_running(device, number, "'ploop stop -d' or 'ploop umount -d' it first"));
  ignore(control::cleanup_stale(), "the leftovers are in nobody's way");
  return forget(number);
}

Status delete_level(const std::string& device, std::size_t level) {
  const int number = TRY(number_of(device));
  TRY(refuse_running(device, number,
                     "a running device loses levels by 'ploop merge -d', which also detaches them"));
  control::AttachSpec spec = TRY(recall(device));
  if (level + 1 != spec.deltas.size()) {
    return fail(ExitCode::DeviceIoctl, "Can't detach level " + std::to_string(level) + " of " + device +
                                           ": only the top, " + std::to_string(spec.deltas.size() - 1) +
                                           ", can go");
  }
  spec.deltas.pop_back();
  if (spec.deltas.empty()) return forget(number);
  spec.read_only = spec.deltas.back().read_only;
  return remember(spec);
}

Result<int> next_device_number() {
  ignore(control::cleanup_stale(), "an unprivileged user gets the same answer");
  auto number = control::next_free_number();
  if (!number) return fail(Error{ExitCode::Create, number.error().sys_errno, number.error().what});
  return number;
}

}  // namespace ploop::ops
