// Names of the files and directories outside the disk's own directory, and small path helpers. Every path has
// one place here and can be moved by an environment variable for tests.
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"

namespace ploop {

/// Runtime state of all devices: $PLOOP_RUNDIR, else /run/ploop.
std::string run_directory();
/// Runtime state of one device: control socket, state file, live map.
std::string device_run_directory(int device_number);
/// Where device nodes are made: $PLOOP_DEVDIR, else /dev.
std::string device_directory();
/// /dev/ploopN and /dev/ploopNp1.
std::string device_path(int device_number);
std::string partition_path(int device_number, int partition);
/// N of a device name: /dev/ploopN, /dev/ploopNpM, ploopN, /dev/mapper/ploopN; -1 when it is none of these.
int device_number(std::string_view name);

/// The directory part, "." when there is none; the part after the last slash.
std::string directory_of(std::string_view path);
std::string base_name(std::string_view path);
/// `path` as an absolute path without symbolic links; the file must exist. Fails with `code`.
Result<std::string> canonical_path(const std::string& path, ExitCode code);
/// Absolute path whose directory is canonical; the last component need not exist.
Result<std::string> canonical_new_path(const std::string& path, ExitCode code);

}  // namespace ploop
