# What `cmake --install` puts where:
#
#   sbin/ploop                       the command line
#   sbin/mount.ploop, umount.ploop   links to it, for mount(8)
#   libexec/ploop/ploopd             the daemon; ploop finds it from its own place, so any prefix works
#   share/man/man8/*.8               manual pages, made from docs/man/*.8.md by pandoc
#   share/bash-completion/completions/ploop
#   lib/systemd/system/ploop@.service, lib/tmpfiles.d/ploop.conf
#   share/doc/ploop                  README, licence, documents
#
# The programs are installed by their own folders (src/cli, src/daemon), the rest here.
# Nothing installed refers to the build tree or to the prefix chosen at configure time.
include_guard(GLOBAL)

# Manual pages: a page shipped ready-made (docs/man/NAME.8) is taken as it is, so a release builds without pandoc.
find_program(PANDOC pandoc)
file(GLOB man_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/docs/man/*.8.md)
set(man_pages)
foreach(source ${man_sources})
  get_filename_component(page ${source} NAME_WLE)
  set(ready ${CMAKE_SOURCE_DIR}/docs/man/${page})
  set(made ${CMAKE_BINARY_DIR}/man/${page})
  if(EXISTS ${ready})
    install(FILES ${ready} DESTINATION ${CMAKE_INSTALL_MANDIR}/man8)
  elseif(PANDOC)
    add_custom_command(OUTPUT ${made}
      COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/man
      COMMAND ${PANDOC} --standalone --from markdown-smart --to man --output ${made} ${source}
      DEPENDS ${source} VERBATIM)
    list(APPEND man_pages ${made})
  endif()
endforeach()
if(man_pages)
  add_custom_target(man ALL DEPENDS ${man_pages})
  install(FILES ${man_pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man8)
elseif(man_sources)
  message(STATUS "pandoc not found: no manual pages")
endif()

if(EXISTS ${CMAKE_SOURCE_DIR}/packaging/bash-completion/ploop)
  install(FILES ${CMAKE_SOURCE_DIR}/packaging/bash-completion/ploop
          DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
endif()
file(GLOB documents ${CMAKE_SOURCE_DIR}/docs/*.md)
install(FILES ${CMAKE_SOURCE_DIR}/README.md ${CMAKE_SOURCE_DIR}/LICENSE ${documents} DESTINATION ${CMAKE_INSTALL_DOCDIR}
        OPTIONAL)
