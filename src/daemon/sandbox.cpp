#include "daemon/sandbox.hpp"

#include <ctime>

#include "daemon/sandbox_parts.hpp"

namespace ploop::daemon {
namespace {

void note(SandboxReport& report, const char* part, const Status& status) {
  if (status) {
    report.in_force.emplace_back(part);
  } else {
    report.missing.push_back(std::string(part) + ": " + status.error().message());
  }
}

Status check_required(const SandboxReport& report) {
  if (report.missing.empty()) return {};
  std::string text = "The sandbox can't be had on this system";
  for (const std::string& part : report.missing)
    text += "; " + part;
  return fail(ExitCode::System, text + "; without --require-sandbox the device runs with the rest of it");
}

}  // namespace

Result<SandboxReport> enter_sandbox(const SandboxOptions& options) {
  SandboxReport report;
  ::tzset();  // the log's time stamps: read from a file now or never
  report.memory_unlimited = sandbox::set_limits();
  note(report, "capabilities", sandbox::drop_privileges());
  if (options.ring != nullptr) {
    note(report, "ring", options.ring->restrict_operations(options.driver_commands));
    TRY(options.ring->enable());
  }
  note(report, "landlock", sandbox::forbid_files());
  if (options.start_threads) TRY(options.start_threads());
  note(report, "seccomp", sandbox::filter_system_calls());
  if (options.required) TRY(check_required(report));
  return report;
}

}  // namespace ploop::daemon
