#include "ops/cancel.hpp"

#include <atomic>

namespace ploop::ops {
namespace {

// Process-wide like the signals that set them.
std::atomic<bool> cancelled{false};
std::atomic<int> sections{0};

}  // namespace

void request_cancel() {
  cancelled.store(true);
}
bool cancel_requested() {
  return cancelled.load();
}

Status stop_if_cancelled() {
  if (cancel_requested()) return fail(ExitCode::System, "cancelled, nothing was changed");
  return {};
}

CleanupSection::CleanupSection() {
  sections.fetch_add(1);
}
CleanupSection::~CleanupSection() {
  sections.fetch_sub(1);
}
bool in_cleanup_section() {
  return sections.load() > 0;
}

}  // namespace ploop::ops
