// Documents for the tests of this folder: building blocks that do not use the writer under test.
#pragma once

#include <string>

namespace ploop::descriptor::testing {

inline const std::string kTop = "{5fbaabe3-6958-40ff-92a7-860e329aab41}";
inline const std::string kNone = "{00000000-0000-0000-0000-000000000000}";
inline const std::string kA = "{aaaaaaaa-1111-4111-8111-000000000001}";
inline const std::string kB = "{bbbbbbbb-2222-4222-8222-000000000002}";
inline const std::string kC = "{cccccccc-3333-4333-8333-000000000003}";

inline std::string image(const std::string& uuid, const std::string& file,
                         const std::string& type = "Compressed") {
  return "<Image><GUID>" + uuid + "</GUID><Type>" + type + "</Type><File>" + file + "</File></Image>";
}

inline std::string shot(const std::string& uuid, const std::string& parent, const std::string& extra = {}) {
  return "<Shot><GUID>" + uuid + "</GUID><ParentGUID>" + parent + "</ParentGUID>" + extra + "</Shot>";
}

/// A valid document of one image; every part can be replaced.
struct Document {
  std::string prolog = "<?xml version=\"1.0\"?>\n";
  std::string parameters =
      "<Disk_size>2097152</Disk_size><Cylinders>2080</Cylinders><Heads>16</Heads><Sectors>63</Sectors>"
      "<Padding>0</Padding>";
  std::string storage = "<Start>0</Start><End>2097152</End><Blocksize>2048</Blocksize>";
  std::string images = image(kTop, "root.hdd");
  std::string snapshots = "<TopGUID>" + kTop + "</TopGUID>";
  std::string shots = shot(kTop, kNone);
  std::string before_storage;
  std::string after_storage;
  std::string root = "Parallels_disk_image";

  [[nodiscard]] std::string text() const {
    return prolog + "<" + root + "><Disk_Parameters>" + parameters + "</Disk_Parameters><StorageData>" +
           before_storage + "<Storage>" + storage + images + "</Storage>" + after_storage +
           "</StorageData><Snapshots>" + snapshots + shots + "</Snapshots></" + root + ">";
  }
};

}  // namespace ploop::descriptor::testing
