// Writes and zeroing, cluster by cluster, of everything the fast path does not take.

#include <algorithm>
#include <cerrno>

#include "engine/core.hpp"

namespace ploop::engine {

/// Whether the piece is all of its cluster, or all that the device has of it.
bool Core::covers_cluster(const Piece& p) const {
  const std::uint64_t start = p.cluster << cluster_shift_;
  return p.offset == 0 && p.length == std::min(cluster_bytes_, size_bytes_ - start);
}

Task<int> Core::write(Core& self, const Request* r) {
  std::uint64_t position = r->offset;
  const std::uint64_t end = r->offset + r->length;
  std::byte* data = r->op == Request::Op::Write ? r->data : nullptr;
  while (position < end) {
    Piece piece{position >> self.cluster_shift_, position & (self.cluster_bytes_ - 1), 0, data};
    piece.length = std::min(end - position, self.cluster_bytes_ - piece.offset);
    int result = 0;
    if (data == nullptr && self.covers_cluster(piece)) {
      result = co_await zero_cluster(self, piece);
    } else {
      result = co_await write_piece(self, piece);
    }
    if (result < 0) co_return result;
    position += piece.length;
    if (data != nullptr) data += piece.length;
  }
  co_return 0;
}

/// A write (or partial zeroing) inside one cluster. Loops because taking a cluster may find that somebody
/// else just did.
Task<int> Core::write_piece(Core& self, Piece piece) {
  for (;;) {
    if (self.failed_) co_return -EIO;
    if (self.is_moving(piece.cluster, piece.cluster)) co_return kMoving;
    const Entry e = self.map_.get(piece.cluster);
    if (!e.mapped() && piece.data == nullptr) co_return 0;
    if (e.partial()) {
      const int result = co_await write_partial(self, piece);
      if (result != -EAGAIN) co_return result;
      continue;
    }
    if (self.is_top(e)) {
      const std::uint64_t at = (std::uint64_t{e.cluster()} << self.cluster_shift_) + piece.offset;
      co_return co_await write_file(self, at, piece.length, piece.data);
    }
    bool written = false;
    const int result = co_await take_cluster(self, piece, &written);
    if (result < 0 || written) co_return result;
  }
}

/// Zeroing of a whole cluster: leaves the map where nothing is below, else becomes a cluster of zeros without
/// disk blocks.
Task<int> Core::zero_cluster(Core& self, Piece piece) {
  for (;;) {
    if (self.failed_) co_return -EIO;
    if (self.is_moving(piece.cluster, piece.cluster)) co_return kMoving;
    const Entry e = self.map_.get(piece.cluster);
    if (!e.mapped()) co_return 0;
    if (e.partial()) {
      const int result = co_await zero_partial(self, piece.cluster);
      if (result != -EAGAIN) co_return result;
      continue;
    }
    if (self.is_top(e)) {
      if (!e.below() && !self.top_is_raw_) {
        self.unmap_top(piece.cluster);
        co_return 0;
      }
      co_return co_await zero_file(self, std::uint64_t{e.cluster()} << self.cluster_shift_, piece.length);
    }
    bool written = false;
    const int result = co_await take_cluster(self, piece, &written);
    if (result < 0 || written) co_return result;
  }
}

/// Writes into the top's file; `data` null means zeros. 0 or -errno.
Task<int> Core::write_file(Core& self, std::uint64_t file_offset, std::uint64_t length, std::byte* data) {
  if (data == nullptr) co_return co_await zero_file(self, file_offset, length);
  self.top_write_begins();
  const int put = co_await io::write(*self.ring_, *self.top_, {data, length}, file_offset);
  self.top_write_ended(file_offset, length);
  self.note_data_changed();
  co_return put < 0 ? put : 0;
}

/// Makes a range of the top's file read as zeros: a hole where the file system has them, else zeros.
Task<int> Core::zero_file(Core& self, std::uint64_t file_offset, std::uint64_t length) {
  if (self.can_punch_) {
    self.top_write_begins();
    const int result = co_await io::punch(*self.ring_, *self.top_, file_offset, length);
    self.top_write_ended(file_offset, length);
    self.note_data_changed();
    if (result != -EOPNOTSUPP) co_return result < 0 ? result : 0;
    self.can_punch_ = false;
  }
  while (length > 0) {
    const std::uint64_t step = std::min<std::uint64_t>(length, self.zeros_.size());
    self.top_write_begins();
    const int put = co_await io::write(*self.ring_, *self.top_, {self.zeros_.data(), step}, file_offset);
    self.top_write_ended(file_offset, step);
    self.note_data_changed();
    if (put < 0) co_return put;
    file_offset += step;
    length -= step;
  }
  co_return 0;
}

}  // namespace ploop::engine
