#include "daemon/fuse_side.hpp"

#include <signal.h>

#include "base/subprocess.hpp"
#include "control/json.hpp"

namespace ploop::daemon {

Status FuseSide::open() {
  connection_ = TRY(transport::fuse::open_connection());
  return {};
}

Status FuseSide::attach(const control::DeviceState&) {
  keeper_ = TRY(start_keeper(connection_.mount, read_only_));
  return {};
}

/// Closing the last /dev/fuse ends the connection. The keeper may be waiting for an answer until then.
void FuseSide::abandon() {
  if (keeper_.pid > 0) ::kill(keeper_.pid, SIGKILL);
  connection_ = {};
}

bool FuseSide::wait_for_keeper() {
  if (keeper_.pid > 0) wait_for_child(keeper_.pid);
  return true;
}

std::string FuseSide::hand_over(std::vector<int>& descriptors) const {
  descriptors.insert(descriptors.end(), {connection_.device.get(), connection_.mount.get()});
  return control::to_line({{"device", connection_.device.get()}, {"mount", connection_.mount.get()}});
}

Status FuseSide::adopt(std::string_view text) {
  const control::Json json = TRY(control::parse_object(text, "FUSE connection"));
  const int device = TRY(control::number_field<int>(json, "device"));
  const int mount = TRY(control::number_field<int>(json, "mount"));
  connection_ = {Fd{device}, Fd{mount}};
  return {};
}

}  // namespace ploop::daemon
