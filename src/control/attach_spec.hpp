// What a device is made of: the order that a command gives to ploopd. It names the image files base to top
// and how to serve them; ploopd never reads a descriptor.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_id.hpp"
#include "base/result.hpp"

namespace ploop::control {

enum class ImageKind : std::uint8_t { Raw, Ploop1 };

/// "raw" or "ploop1"; nothing for another word is ExitCode::Protocol.
std::string_view image_kind_name(ImageKind kind);
Result<ImageKind> parse_image_kind(std::string_view name);

/// What an allocating write does when the host file system is full.
enum class OnEnospc : std::uint8_t {
  Wait,  ///< waits until there is space again
  Fail,  ///< fails with "no space left on device"
};

/// "wait" or "fail"; ExitCode::Protocol for another word.
std::string_view on_enospc_name(OnEnospc what);
Result<OnEnospc> parse_on_enospc(std::string_view name);

struct DeltaSpec {
  std::string path;  ///< absolute
  ImageKind kind = ImageKind::Ploop1;
  bool read_only = true;  ///< false for the top of a writable device only
  /// Which file it is, where that is known. Not part of an order, which is about names.
  std::optional<FileId> file = {};
  bool operator==(const DeltaSpec&) const = default;
};

struct AttachSpec {
  int device_number = -1;                    ///< N of /dev/ploopN; -1 takes the lowest free one
  std::vector<DeltaSpec> deltas;             ///< base first
  std::uint32_t raw_cluster_sectors = 2048;  ///< cluster size of a raw base; other deltas know theirs
  bool read_only = false;
  bool merging =
      false;  ///< go on with a live merge: the last delta is drained into the one below, both are written
  std::string component;   ///< "" is the default component
  std::string descriptor;  ///< absolute path of DiskDescriptor.xml, informational; may be ""
  std::string transport =
      "auto";  ///< a name of --transport; "auto": the daemon takes ublk where the kernel can do it
  OnEnospc on_enospc = OnEnospc::Wait;
  bool require_sandbox = false;  ///< refuse when a part of the worker's sandbox can't be had
  bool operator==(const AttachSpec&) const = default;
};

/// Limits that every spec is held to, whoever wrote it.
inline constexpr std::size_t kMaxDeltas = 1024;
inline constexpr int kMaxDeviceNumber = 1048575 / 16;
inline constexpr std::size_t kMaxComponentLength = 63;

/// One line of JSON, and back. Unknown fields are refused, so that an old daemon does not ignore what a newer
/// command asks for. ExitCode::Protocol when the text is malformed, ExitCode::Param when a value breaks a
/// limit.
std::string encode_attach_spec(const AttachSpec& spec);
Result<AttachSpec> decode_attach_spec(std::string_view text);

/// Which files the images are, one line of JSON, and back into the same list. ExitCode::Protocol for what
/// does not fit it.
std::string encode_files(const std::vector<DeltaSpec>& deltas);
Status decode_files(std::string_view text, std::vector<DeltaSpec>& deltas);

}  // namespace ploop::control
