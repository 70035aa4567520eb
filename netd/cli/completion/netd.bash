# bash completion for netd(8), 4.4 or later, with or without the package bash-completion. `netd completion bash` prints it.
_netd()
{
    local line=${COMP_LINE:0:COMP_POINT} kind value given
    # What readline does not replace: the current word up to the last character that ends a word for it, as in tcp://.
    given=${line##*[[:blank:]]}
    given=${given//\\/}
    [[ $given == --*=* ]] && given=${given#*=}
    given=${given%"${given##*[$COMP_WORDBREAKS]}"}
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case $kind in
            plain)
                value=${value#"$given"}
                [[ $value == *[^[:alnum:]_./:@%+=,-]* ]] && printf -v value %q "$value"
                COMPREPLY+=("$value")
                ;;
            file) compopt -o default ;;
            dir) compopt -o dirnames ;;
        esac
    done < <(_NETD_COMPLETE=bash COMP_LINE=$line "$1" 2>/dev/null)
}
complete -o nosort -F _netd netd
