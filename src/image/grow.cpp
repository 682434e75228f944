#include "image/grow.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "image/copy.hpp"

namespace ploop::image {
namespace {

/// Bytes that are moved between two commits.
constexpr std::uint64_t kBatchBytes = 64 * kMiB;

/// A guest cluster whose place in the file is in the way.
struct Move {
  std::uint32_t cluster = 0;
  std::uint32_t guest = 0;
  friend auto operator<=>(const Move&, const Move&) = default;
};

Error as_relocation(Error error) {
  error.code = ExitCode::Reloc;
  return std::move(error).with_context("moving a cluster");
}

Status stop_if(const std::function<bool()>& cancelled, const io::BlockFile& file) {
  if (!cancelled || !cancelled()) return {};
  return fail(ExitCode::System, fmt::format("Changing the size of {} was cancelled", file.name()));
}

/// Moves clusters to new places, with commits in between.
class Mover {
 public:
  Mover(Editor& editor, const ResizeOptions& options)
      : editor_(editor), options_(options), copier_(editor.file(), editor.cluster_bytes()) {}

  Status move(const Move& what) {
    const std::uint64_t bytes = editor_.cluster_bytes();
    const std::uint32_t target = TRY(editor_.allocate());
    if (Status copied = copier_.run({&editor_.file(), what.cluster * bytes, target * bytes, bytes});
        !copied) {
      return fail(as_relocation(std::move(copied).error()));
    }
    editor_.map(what.guest, target);
    batch_ += bytes;
    return batch_ < kBatchBytes ? Status{} : commit();
  }

  Status commit() {
    batch_ = 0;
    TRY(editor_.commit());
    return stop_if(options_.cancelled, editor_.file());
  }

 private:
  Editor& editor_;
  const ResizeOptions& options_;
  Copier copier_;
  std::uint64_t batch_ = 0;
};

/// Everything between the stored table of the old size and the new data area reads as zeros afterwards.
Status zero_table_area(Editor& editor, const format::Header& grown) {
  io::BlockFile& file = editor.file();
  const std::uint64_t from =
      round_up(format::kHeaderSize + std::uint64_t{editor.header().table_entries} * format::kTableEntrySize,
               editor.cluster_bytes());
  const std::uint64_t to = std::uint64_t{grown.first_block_sectors} * kSectorSize;
  // Written, not punched: a later table write must find its blocks.
  const std::vector<std::byte> zeros(kMiB);
  for (std::uint64_t offset = from; offset < to; offset += kMiB) {
    const auto part = std::span(zeros).first(std::min(kMiB, to - offset));
    TRY(io::write_exact(file, part, offset, "cluster table"));
  }
  return {};
}

Result<format::Header> resized_header(const format::Header& header, std::uint64_t size_sectors) {
  format::Header resized = TRY(format::make_header(size_sectors, header.cluster_sectors, header.version));
  // Never shorter: the data area stays where it is.
  resized.first_block_sectors = std::max(resized.first_block_sectors, header.first_block_sectors);
  return resized;
}

/// Clusters at the end go into holes as long as there are any below.
Status fill_holes_from_end(Editor& editor, Mover& mover) {
  std::vector<Move> moves;
  for (std::uint32_t guest = 0; guest < editor.table().size(); ++guest) {
    if (editor.table()[guest] != 0) moves.push_back({editor.table()[guest], guest});
  }
  std::sort(moves.rbegin(), moves.rend());
  for (const Move& last : moves) {
    if (editor.next_free() >= last.cluster) break;
    TRY(mover.move(last));
  }
  return mover.commit();
}

/// Mapped clusters behind the new end.
std::uint64_t mapped_behind(const Editor& editor, std::uint32_t entries) {
  const auto slots = editor.table().subspan(entries);
  return static_cast<std::uint64_t>(
      std::count_if(slots.begin(), slots.end(), [](std::uint32_t c) { return c != 0; }));
}

}  // namespace

Result<format::Header> grown_header(const format::Header& header, std::uint64_t size_sectors) {
  if (size_sectors < header.size_sectors) {
    return fail(ExitCode::Param, fmt::format("Error: new size {} is less than the old size {}", size_sectors,
                                             header.size_sectors));
  }
  return resized_header(header, size_sectors);
}

Status grow_table(Editor& editor, const format::Header& grown, const ResizeOptions& options) {
  const std::uint32_t first = grown.header_clusters();
  std::vector<Move> moves;
  for (std::uint32_t guest = 0; guest < editor.table().size(); ++guest) {
    const std::uint32_t cluster = editor.table()[guest];
    if (cluster != 0 && cluster < first) moves.push_back({cluster, guest});
  }
  std::sort(moves.begin(), moves.end());
  editor.keep_free_below(first);
  Mover mover(editor, options);
  for (const Move& move : moves)
    TRY(mover.move(move));
  TRY(mover.commit());
  if (options.moved) TRY(options.moved());
  TRY(zero_table_area(editor, grown));
  return editor.change_size(grown);
}

Status grow_image(Delta& delta, std::uint64_t size_sectors, const ResizeOptions& options) {
  const format::Header grown = TRY(grown_header(delta.header(), size_sectors));
  const bool done = grown.size_sectors == delta.size_sectors();
  if (done && !delta.header().is_in_use()) return {};
  Editor editor(delta);
  TRY(editor.begin());
  if (!done) TRY(grow_table(editor, grown, options));
  return editor.finish();
}

Status shrink_image(Delta& delta, std::uint64_t size_sectors, const ResizeOptions& options) {
  const format::Header shrunk = TRY(resized_header(delta.header(), size_sectors));
  if (shrunk.size_sectors > delta.size_sectors()) {
    return fail(ExitCode::Param, fmt::format("Error: new size {} is more than the old size {}", size_sectors,
                                             delta.size_sectors()));
  }
  const bool same = shrunk.size_sectors == delta.size_sectors();
  if (same && !delta.header().is_in_use()) return {};
  Editor editor(delta);
  if (const std::uint64_t mapped = mapped_behind(editor, shrunk.table_entries);
      mapped != 0 && !options.drop_mapped) {
    return fail(ExitCode::Param,
                fmt::format("{} clusters of {} behind the new end are in use: shrink the file system "
                            "in it first",
                            mapped, delta.file().name()));
  }
  TRY(editor.begin());
  for (std::uint32_t guest = shrunk.table_entries; guest < editor.table().size(); ++guest)
    if (editor.table()[guest] != 0) editor.map(guest, 0);
  TRY(editor.commit());
  if (!same) TRY(editor.change_size(shrunk));
  editor.collect_free();
  Mover mover(editor, options);
  TRY(fill_holes_from_end(editor, mover));
  return editor.finish();
}

Status resize_raw(io::BlockFile& file, std::uint64_t bytes, std::uint64_t unit) {
  const std::uint64_t length = round_up(bytes, unit);
  if (TRY(io::file_size(file)) == length) return {};
  if (const int error = file.truncate(length); error < 0) {
    return fail(errno_error(ExitCode::Truncate, -error, fmt::format("resize {}", file.name())));
  }
  return io::sync_file(file);
}

}  // namespace ploop::image
