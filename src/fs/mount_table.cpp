#include "fs/mount_table.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>

namespace ploop::fs {
namespace {

struct TableFree {
  void operator()(libmnt_table* t) const { mnt_unref_table(t); }
};
struct IterFree {
  void operator()(libmnt_iter* i) const { mnt_free_iter(i); }
};

std::string text_or_empty(const char* text) {
  return text == nullptr ? std::string() : std::string(text);
}

bool has_option(const std::string& options, const char* name) {
  return mnt_optstr_get_option(options.c_str(), name, nullptr, nullptr) == 0;
}

}  // namespace

Result<std::vector<MountRow>> read_mount_table(const std::string& path) {
  std::unique_ptr<libmnt_table, TableFree> table(mnt_new_table_from_file(path.c_str()));
  if (!table) return fail_errno(ExitCode::Sysfs, "read " + path);
  std::unique_ptr<libmnt_iter, IterFree> iter(mnt_new_iter(MNT_ITER_FORWARD));
  if (!iter) return fail(ExitCode::Malloc, "read " + path);
  std::vector<MountRow> rows;
  libmnt_fs* entry = nullptr;
  while (mnt_table_next_fs(table.get(), iter.get(), &entry) == 0) {
    MountRow row;
    row.mount.directory = text_or_empty(mnt_fs_get_target(entry));
    row.mount.source = text_or_empty(mnt_fs_get_source(entry));
    row.mount.type = text_or_empty(mnt_fs_get_fstype(entry));
    row.mount.root = text_or_empty(mnt_fs_get_root(entry));
    row.mount.device = mnt_fs_get_devno(entry);
    row.id = static_cast<std::uint64_t>(mnt_fs_get_id(entry));
    row.options = text_or_empty(mnt_fs_get_options(entry));
    row.mount.read_only = has_option(row.options, "ro");
    rows.push_back(std::move(row));
  }
  return rows;
}

Result<PathMount> mount_of_path(const std::string& path) {
  struct statx st = {};
  if (::statx(AT_FDCWD, path.c_str(), AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_MNT_ID, &st) != 0)
    return fail_errno(ExitCode::Stat, "stat " + path);
  if ((st.stx_mask & STATX_MNT_ID) == 0)
    return fail(ExitCode::Stat, "stat " + path + ": the kernel does not tell the mount");
  return PathMount{st.stx_mnt_id, (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0};
}

}  // namespace ploop::fs
