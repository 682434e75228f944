// What the guardian does for its worker and what not. The worker reads images that come from strangers, so it
// may have been taken over by one of them. Files are opened and renamed for it only as the device's own order
// says, or as a command said on the admin socket, which is root's. Pure: opens nothing, renames nothing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "control/attach_spec.hpp"
#include "control/chain_messages.hpp"

namespace ploop::daemon {

class Authority {
 public:
  /// `order` is what the device consists of now; the owner keeps it up to date.
  explicit Authority(const control::AttachSpec& order) : order_(order) {}
  Authority(const Authority&) = delete;
  Authority& operator=(const Authority&) = delete;

  /// A command allows one change. `connection` is its connection to the admin socket.
  void allow(std::uint64_t connection, control::Permission permission);
  /// The change has been answered.
  void revoke(std::uint64_t connection);
  /// Without revoke() before, the command died. The worker may have been asked already, so what was allowed
  /// stays until the next command comes.
  void closed(std::uint64_t connection);

  /// Nobody allows anything at the moment.
  [[nodiscard]] bool idle() const { return given_.empty(); }

  /// The worker wants a file. ExitCode::Open.
  [[nodiscard]] Status may_open(const std::string& path, bool writable) const;
  /// The file of this name as a command wants it to become a level; nothing when none does.
  [[nodiscard]] const control::DeltaSpec* wanted(const std::string& path, bool writable) const;
  /// The worker wants the device to consist of this, and the commit point to be passed. ExitCode::Param.
  [[nodiscard]] Status may_become(const control::ChainState& next) const;
  /// It was passed: nobody may pass it again.
  void passed(const control::CommitPoint& commit);

 private:
  struct Given {
    std::uint64_t connection;
    control::Permission permission;
    bool orphaned = false;
  };
  [[nodiscard]] bool merge_allowed() const;
  [[nodiscard]] bool may_be_level(const control::DeltaSpec& delta) const;

  const control::AttachSpec& order_;
  std::vector<Given> given_;  ///< at most one per connection
};

}  // namespace ploop::daemon
