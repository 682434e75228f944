#include "fs/holders.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>

#include "base/fd.hpp"
#include "base/sysfs.hpp"
#include "base/text.hpp"
#include "fs/mount_table.hpp"

namespace ploop::fs {
namespace {

namespace stdfs = std::filesystem;

constexpr std::size_t kMapsLimit = std::size_t{16} << 20;

struct FileFacts {
  dev_t device = 0;   ///< of the file system it lies on
  dev_t special = 0;  ///< of the block device it is, else 0
};

/// What a link under /proc points to. DONT_SYNC: a server that does not answer any more must not stop us.
std::optional<FileFacts> file_facts(const std::string& link) {
  struct statx st = {};
  if (::statx(AT_FDCWD, link.c_str(), AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &st) != 0)
    return std::nullopt;
  FileFacts facts;
  facts.device = makedev(st.stx_dev_major, st.stx_dev_minor);
  if (S_ISBLK(st.stx_mode)) facts.special = makedev(st.stx_rdev_major, st.stx_rdev_minor);
  return facts;
}

std::string link_text(const std::string& link) {
  std::error_code error;
  return stdfs::read_symlink(link, error).string();
}

void for_each_entry(const std::string& directory, const std::function<void(const std::string&)>& use) {
  std::error_code error;
  for (stdfs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error))
    use(it->path().filename().string());
}

void for_each_process(const std::function<void(pid_t, const std::string&)>& use) {
  for_each_entry("/proc", [&](const std::string& name) {
    pid_t pid = 0;
    const auto [end, err] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (err == std::errc() && end == name.data() + name.size()) use(pid, "/proc/" + name);
  });
}

Holder make_holder(pid_t pid, const std::string& proc, std::string how) {
  const auto name = read_file(proc + "/comm", 64);
  return Holder{pid, name ? std::string(trim(*name)) : std::string("?"), std::move(how)};
}

/// The first file of the file system that the process has mapped, "" for none.
std::string mapped_file(const std::string& proc, dev_t device) {
  const auto maps = read_file(proc + "/maps", kMapsLimit);
  if (!maps) return {};
  // start-end perms offset major:minor inode   path
  const std::string wanted = fmt::format(" {:02x}:{:02x} ", major(device), minor(device));
  const std::size_t at = maps->find(wanted);
  if (at == std::string::npos) return {};
  const std::size_t end = std::min(maps->find('\n', at), maps->size());
  const std::size_t path = maps->find('/', at);
  return path < end ? maps->substr(path, end - path) : std::string("a file");
}

/// How the process uses the file system, "" when it does not.
std::string use_of_file_system(const std::string& proc, dev_t device) {
  for (const auto& [link, text] :
       {std::pair{"/cwd", "working directory "}, std::pair{"/root", "root directory "}}) {
    const auto facts = file_facts(proc + link);
    if (facts && facts->device == device) return text + link_text(proc + link);
  }
  std::string how;
  for_each_entry(proc + "/fd", [&](const std::string& name) {
    if (!how.empty()) return;
    const std::string link = proc + "/fd/" + name;
    const auto facts = file_facts(link);
    if (facts && facts->device == device) how = "open " + link_text(link);
  });
  if (!how.empty()) return how;
  const std::string mapped = mapped_file(proc, device);
  return mapped.empty() ? std::string() : "mapped " + mapped;
}

bool contains(std::span<const dev_t> devices, dev_t device) {
  return std::find(devices.begin(), devices.end(), device) != devices.end();
}

void add_built_on(dev_t device, std::vector<Holder>& holders) {
  const std::string directory = sysfs_block_device(device) + "/holders";
  for_each_entry(directory, [&](const std::string& name) {
    holders.push_back(Holder{0, name, "built on the device"});
  });
}

}  // namespace

std::vector<NamespaceMount> mounts_everywhere(std::span<const dev_t> devices) {
  std::vector<NamespaceMount> mounts;
  std::set<std::string> seen;
  const std::string own = link_text("/proc/self/ns/mnt");
  for_each_process([&](pid_t pid, const std::string& proc) {
    const std::string name_space = link_text(proc + "/ns/mnt");
    // A thread of the kernel would mislead.
    if (name_space.empty() || link_text(proc + "/exe").empty() || !seen.insert(name_space).second) return;
    auto table = read_mount_table(proc + "/mountinfo");
    if (!table) return;
    for (MountRow& row : *table) {
      if (contains(devices, row.mount.device))
        mounts.push_back({name_space == own ? 0 : pid, std::move(row.mount)});
    }
  });
  return mounts;
}

std::vector<Holder> file_system_holders(dev_t device) {
  std::vector<Holder> holders;
  for_each_process([&](pid_t pid, const std::string& proc) {
    if (std::string how = use_of_file_system(proc, device); !how.empty())
      holders.push_back(make_holder(pid, proc, std::move(how)));
  });
  return holders;
}

std::vector<Holder> block_device_holders(std::span<const dev_t> devices, std::span<const pid_t> ignore) {
  std::vector<Holder> holders;
  // Of our own namespace the place says enough; of another one a process tells which it is.
  for (const NamespaceMount& found : mounts_everywhere(devices)) {
    std::string where = "mounted at " + found.mount.directory;
    holders.push_back(found.pid == 0
                          ? Holder{0, "file system", std::move(where)}
                          : make_holder(found.pid, "/proc/" + std::to_string(found.pid), std::move(where)));
  }
  const pid_t self = ::getpid();
  for_each_process([&](pid_t pid, const std::string& proc) {
    if (pid == self || std::find(ignore.begin(), ignore.end(), pid) != ignore.end()) return;
    bool found = false;
    for_each_entry(proc + "/fd", [&](const std::string& name) {
      if (found) return;
      const std::string link = proc + "/fd/" + name;
      const auto facts = file_facts(link);
      found = facts && facts->special != 0 && contains(devices, facts->special);
      if (found) holders.push_back(make_holder(pid, proc, "open " + link_text(link)));
    });
  });
  for (const dev_t device : devices)
    add_built_on(device, holders);
  return holders;
}

std::string describe_holders(const std::vector<Holder>& holders, std::size_t limit) {
  std::string text;
  for (std::size_t i = 0; i < std::min(limit, holders.size()); ++i) {
    const Holder& h = holders[i];
    text += fmt::format("{}{}{}: {}", i == 0 ? "" : "; ", h.program,
                        h.pid == 0 ? "" : fmt::format("({})", h.pid), h.how);
  }
  if (holders.size() > limit) text += fmt::format("; and {} more", holders.size() - limit);
  return text;
}

}  // namespace ploop::fs
