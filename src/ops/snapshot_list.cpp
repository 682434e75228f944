#include "ops/snapshot_list.hpp"

#include "descriptor/store.hpp"

namespace ploop::ops {

Result<std::vector<SnapshotRow>> snapshot_list(const std::string& descriptor,
                                               const SnapshotRowOptions& options) {
  auto rows = descriptor::load(descriptor).and_then([&](const descriptor::Disk& disk) {
    return descriptor::snapshot_rows(disk, options);
  });
  if (!rows) return fail(Error{ExitCode::Create, rows.error().sys_errno, rows.error().what});
  return rows;
}

}  // namespace ploop::ops
