# Run by CPack on the staged tree, before it becomes a package: what Debian's policy wants of files that the program itself does
# not care about. Manual pages and the change log are compressed, the licence is called copyright.
set(root ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/usr)
set(doc ${root}/share/doc/ploop)

file(GLOB pages ${root}/share/man/man8/*.8)
if(NOT pages)
  message(FATAL_ERROR "There are no manual pages: install pandoc (tools/install-deps.sh man) and build again")
endif()
execute_process(COMMAND gzip -9n ${pages} COMMAND_ERROR_IS_FATAL ANY)

file(COPY_FILE ${CMAKE_CURRENT_LIST_DIR}/copyright ${doc}/copyright)
file(REMOVE ${doc}/LICENSE)
file(COPY_FILE ${CMAKE_CURRENT_LIST_DIR}/changelog ${doc}/changelog.Debian)
execute_process(COMMAND gzip -9nf ${doc}/changelog.Debian COMMAND_ERROR_IS_FATAL ANY)

# Debian's zsh looks elsewhere.
file(MAKE_DIRECTORY ${root}/share/zsh/vendor-completions)
file(RENAME ${root}/share/zsh/site-functions/_ploop ${root}/share/zsh/vendor-completions/_ploop)
file(REMOVE_RECURSE ${root}/share/zsh/site-functions)
file(GLOB_RECURSE files LIST_DIRECTORIES false ${root}/share/* ${root}/lib/*)
file(CHMOD ${files} PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
