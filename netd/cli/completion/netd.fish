# fish completion for netd(8). `netd completion fish` prints it.
function __netd_complete
    set -l netd (commandline --tokenize --cut-at-cursor --current-process)[1]
    for line in (env _NETD_COMPLETE=fish COMP_LINE=(commandline --cut-at-cursor --current-process | string collect) \
            $netd 2>/dev/null)
        set -l found (string split --max 1 , -- $line)
        switch $found[1]
            case plain
                echo $found[2]
            case file
                __fish_complete_path (string replace --regex '^--[^=]*=' '' -- (commandline --current-token))
            case dir
                __fish_complete_directories (commandline --current-token)
        end
    end
end
complete --command netd --no-files --keep-order --arguments '(__netd_complete)'
