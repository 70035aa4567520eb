# ping over TCP or UDP without a line end, and the answer. bash ping.sh tcp|udp HOST PORT
exec 3<>"/dev/$1/$2/$3"
printf ping >&3
head -c 4 <&3
