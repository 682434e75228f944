// Changing the levels of a running device, together with the descriptor: the command prepares, the device
// commits. After an error that leaves it open whether the device has done it, the staged descriptor decides:
// it can be taken away only as long as the device has not renamed it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "control/client.hpp"
#include "ops/running.hpp"

namespace ploop::ops {

/// Makes `file` (complete and durable) the new top of the device. A file system that is mounted from it is
/// flushed and frozen meanwhile; where that does not work a warning is logged, and the snapshot is that of a
/// power cut. Logs "Creating snapshot". `freeze` false leaves the file system alone.
Status push_top(const DeviceState& device, const std::string& file, const control::CommitPoint& commit,
                bool freeze = true);

/// Whether the error of a live change is the last word: takes the staged descriptor away, then looks. True:
/// the descriptor names `file` (or, with `named` false, does not name it any more), so the change took place
/// all the same. Where that can't be found out nothing may be undone: `rollback` is committed, and the note
/// tells the next command.
Result<bool> took_place(const std::string& descriptor_path, const std::string& file, bool named,
                        Rollback& rollback);

/// The levels below the device's top with those of `gone` left out and `from` exchanged for `to` (when not
/// empty).
std::vector<control::DeltaSpec> lower_without(const DeviceState& device, const std::vector<std::string>& gone,
                                              const std::string& from = {}, const std::string& to = {});

/// Waits until the device is not busy with another operation, at most some seconds; one called `joined` does
/// not count. ExitCode::Busy.
Status wait_until_idle(control::Client& client, const DeviceState& device, std::string_view joined = {});

/// Waits in the same way until the operation `what` has ended.
Status wait_for_end(control::Client& client, const DeviceState& device, std::string_view what);

}  // namespace ploop::ops
