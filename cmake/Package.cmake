# The Debian package: `make deb`, or `cpack` in a build directory that has the manual pages. Libraries it needs are found by
# dpkg-shlibdeps. There are no maintainer scripts, since nothing needs to be done: /run/ploop is made on demand and the unit
# is a template.
include_guard(GLOBAL)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME ploop)
set(CPACK_PACKAGE_VENDOR "the ploop developers")
set(PLOOP_MAINTAINER "the ploop developers <ploop@localhost.localdomain>" CACHE STRING "name and address in the Debian package")
set(CPACK_PACKAGE_CONTACT "${PLOOP_MAINTAINER}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "disks in image files, with snapshots")
set(CPACK_PACKAGE_DESCRIPTION "One image file becomes a block device on any stock kernel, through FUSE
and loop. Images are those of OpenVZ and Parallels: thin, stackable, with
snapshots that are taken, merged and dropped while the disk is in use.")
set(CPACK_RESOURCE_FILE_LICENSE ${CMAKE_SOURCE_DIR}/LICENSE)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_OUTPUT_FILE_PREFIX ${CMAKE_BINARY_DIR})
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_SOURCE_DIR}/packaging/debian/finish.cmake)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_CURRENT_SOURCE_DIR}/packaging/debian/postinst)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# Programs that are run; mount(8) is essential already.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "e2fsprogs (>= 1.43), mount")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "xfsprogs")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "qemu-utils, socat")
# Else cpack builds the tests first.
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)
include(CPack)
