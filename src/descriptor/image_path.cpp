#include "descriptor/image_path.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "base/paths.hpp"
#include "descriptor/open_beneath.hpp"

namespace ploop::descriptor {
namespace {

tl::unexpected<Error> refused(const std::string& file, std::string_view why) {
  return fail(ExitCode::Descriptor, "Image name " + file + " is refused: " + std::string(why));
}

/// A name that open_beneath() can take: not empty, no empty, "." or ".." component.
bool is_plain_relative(std::string_view name) {
  for (;;) {
    const std::string_view component = name.substr(0, name.find('/'));
    if (component.empty() || component == "." || component == "..") return false;
    if (component.size() == name.size()) return true;
    name.remove_prefix(component.size() + 1);
  }
}

struct Place {
  std::string directory;
  std::string name;  ///< relative to it
};

std::string_view below(const std::string& directory, std::string_view file) {
  const std::string prefix = directory == "/" ? "/" : directory + "/";
  return file.starts_with(prefix) ? file.substr(prefix.size()) : std::string_view{};
}

/// A file that the user named: the whole path is resolved on both sides, then it must be the same one.
Result<Place> external_place(const std::string& file, const PathPolicy& policy) {
  for (const std::string& allowed : policy.allow_external) {
    const auto wanted = canonical_path(allowed, ExitCode::Open);
    if (!wanted) continue;
    const auto real = canonical_path(file, ExitCode::Open);
    if (real && *real == *wanted) return Place{"/", real->substr(1)};
  }
  return refused(file, "it is outside the descriptor's directory (--allow-external=PATH permits it)");
}

Result<Place> find_place(const std::string& directory, const std::string& file, const PathPolicy& policy) {
  if (const std::string_view name = below(directory, file); !name.empty() && is_plain_relative(name)) {
    return Place{directory, std::string(name)};
  }
  // The same directory written in another way, for example through a symbolic link above it.
  if (const auto real = canonical_path(directory_of(file), ExitCode::Open);
      real && is_plain_relative(file.substr(1))) {
    const std::string joined = (*real == "/" ? "" : *real) + "/" + base_name(file);
    if (const std::string_view name = below(directory, joined); *real == directory && !name.empty()) {
      return Place{directory, std::string(name)};
    }
  }
  return external_place(file, policy);
}

}  // namespace

Fd open_beneath_walking(int directory, std::string_view name, int flags) {
  Fd current;
  for (;;) {
    const std::string component(name.substr(0, name.find('/')));
    const bool last = component.size() == name.size();
    const int how = last ? flags | O_NOFOLLOW : O_PATH | O_DIRECTORY | O_NOFOLLOW;
    Fd next{::openat(current ? current.get() : directory, component.c_str(), how | O_CLOEXEC)};
    if (last || !next) return next;
    current = std::move(next);
    name.remove_prefix(component.size() + 1);
  }
}

Fd open_beneath(int directory, const std::string& name, int flags) {
  open_how how{};
  how.flags = static_cast<unsigned>(flags | O_CLOEXEC | O_NOFOLLOW);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  for (int attempt = 0;; ++attempt) {
    const long fd = ::syscall(SYS_openat2, directory, name.c_str(), &how, sizeof how);
    if (fd >= 0) return Fd{static_cast<int>(fd)};
    // EAGAIN: somebody renames directories meanwhile. ENOSYS, EPERM: an old kernel, or a sandbox that does
    // not know the call.
    if (errno == EAGAIN && attempt < 100) continue;
    if (errno == ENOSYS || errno == EPERM) return open_beneath_walking(directory, name, flags);
    return {};
  }
}

namespace {

Result<Fd> open_place(const Place& place, const std::string& file, int flags) {
  const Fd root = TRY(open_file(place.directory, O_PATH | O_DIRECTORY));
  // First only a reference: opening a device node or a FIFO for real has effects.
  const Fd reference = open_beneath(root.get(), place.name, O_PATH);
  if (!reference) {
    if (errno == ELOOP) return refused(file, "it leads through a symbolic link");
    if (errno == ENOTDIR) return refused(file, "a part of it is no directory");
    return fail_errno(ExitCode::Open, "Can't open " + file);
  }
  struct stat info {};
  if (::fstat(reference.get(), &info) != 0) return fail_errno(ExitCode::Stat, "stat " + file);
  if (S_ISLNK(info.st_mode)) return refused(file, "it is a symbolic link");
  if (!S_ISREG(info.st_mode)) return refused(file, "it is no regular file");
  if ((flags & O_PATH) != 0) return duplicate(reference);
  const std::string link = "/proc/self/fd/" + std::to_string(reference.get());
  Fd fd{::open(link.c_str(), flags | O_CLOEXEC)};
  if (!fd) return fail_errno(ExitCode::Open, "Can't open " + file);
  return fd;
}

}  // namespace

Result<Fd> open_image(const std::string& directory, const std::string& file, int flags,
                      const PathPolicy& policy) {
  return open_place(TRY(find_place(directory, file, policy)), file, flags);
}

Result<std::string> image_path(const std::string& directory, const std::string& file,
                               const PathPolicy& policy) {
  const Place place = TRY(find_place(directory, file, policy));
  TRY(open_place(place, file, O_PATH));
  return (place.directory == "/" ? "" : place.directory) + "/" + place.name;
}

Result<std::vector<std::string>> image_paths(const Disk& disk, const std::vector<std::string>& files,
                                             const PathPolicy& policy) {
  std::vector<std::string> paths;
  paths.reserve(files.size());
  for (const std::string& file : files)
    paths.push_back(TRY(image_path(disk.directory, file, policy)));
  return paths;
}

}  // namespace ploop::descriptor
