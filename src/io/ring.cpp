#include "io/ring.hpp"

#include <cerrno>

namespace ploop::io {

int run_in_place(const Op& op) {
  const auto length = static_cast<std::size_t>(op.length);
  switch (op.kind) {
    case OpKind::Read:
      return static_cast<int>(op.file->read({op.data, length}, op.offset));
    case OpKind::Write:
      return static_cast<int>(op.file->write({op.data, length}, op.offset));
    case OpKind::Sync:
      return op.file->sync();
    case OpKind::Allocate:
      return op.file->allocate(op.offset, op.length);
    case OpKind::Punch:
      return op.file->punch(op.offset, op.length);
    case OpKind::Clone:
      return op.file->clone(*op.source, op.source_offset, op.offset, op.length);
    case OpKind::Truncate:
      return op.file->truncate(op.length);
  }
  return -EINVAL;
}

}  // namespace ploop::io
