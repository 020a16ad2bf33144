# SPDX-License-Identifier: LGPL-2.1-or-later
# bash completion for guestlock(8)

# Names are chosen by guests: offer plain ones only, and never let the shell
# expand one (compgen -W would).
_guestlock_guests() {
	local cur=$1 uuid name

	while read -r uuid _ _ _ _ name; do
		[[ $uuid == "$cur"* ]] && COMPREPLY+=("$uuid")
		# "3 (1 lost)" is three words.
		[[ $name =~ ^\([0-9]+\ [a-z]+\)\ \ (.*) ]] &&
			name=${BASH_REMATCH[1]}
		[[ $name =~ ^[A-Za-z0-9._:@-]+$ && $name != - &&
			$name == "$cur"* ]] && COMPREPLY+=("$name")
	done < <(guestlock ls --quiet 2>/dev/null | tail -n +2)
}

_guestlock_words() {
	local cur=$1 word

	shift
	for word; do
		[[ $word == "$cur"* ]] && COMPREPLY+=("$word")
	done
}

_guestlock_files() {
	local file

	compopt -o filenames 2>/dev/null
	while IFS= read -r file; do
		COMPREPLY+=("$file")
	done < <(compgen -f -- "$1")
}

_guestlock_options() {
	local cur=$1 verb=$2
	local -a words=(--json --quiet --help)
	local -a dirs=(--lock-dir --lvm-lock-dir --scsi-lock-dir)
	local -a policy=(--wait --require-scope --exclusive-open --readonly)

	case $verb in
	run | "migrate incoming")
		words+=(--id --uuid --name --disk --disks-from --null
			--lease --lockspace --vm --incoming --epoch --tag
			--args-from "${policy[@]}" "${dirs[@]}")
		;;
	attach-disk)
		words+=(--disks-from --null --lease --lockspace
			"${policy[@]}" "${dirs[@]}")
		;;
	detach-disk)
		words+=(--disks-from --null --lease --lockspace "${dirs[@]}")
		;;
	who)
		words+=("${dirs[@]}")
		;;
	"migrate in")
		words+=(--timeout)
		;;
	"migrate cancel")
		words+=(--side)
		;;
	esac
	_guestlock_words "$cur" "${words[@]}"
}

# Which word from $1 on begins COMMAND, or the GUEST? Prints its index.
_guestlock_first() {
	local i

	for ((i = $1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--)
			echo $((i + 1))
			return
			;;
		--disk | --disks-from | --args-from | --id | --uuid | --name | \
			--wait | --lease | --lockspace | --epoch | --tag | \
			--side | --timeout | --require-scope | \
			--exclusive-open | --readonly | --lock-dir | \
			--lvm-lock-dir | --scsi-lock-dir)
			((i++))
			;;
		-*) ;;
		*)
			echo "$i"
			return
			;;
		esac
	done
	echo "$i"
}

_guestlock() {
	local cur=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} first=2

	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		_guestlock_words "$cur" run attach-disk detach-disk ls who \
			check migrate doctor demo --help --version
		return
	fi
	if [[ $verb == migrate ]]; then
		if ((COMP_CWORD == 2)); then
			_guestlock_words "$cur" prepare incoming out in cancel \
				--help
			return
		fi
		verb+=" ${COMP_WORDS[2]}"
		first=3
	fi
	first=$(_guestlock_first "$first")
	if [[ $verb == run || $verb == "migrate incoming" ]] &&
		((COMP_CWORD > first)); then
		declare -F _command_offset >/dev/null &&
			_command_offset "$first"
		return
	fi
	case ${COMP_WORDS[COMP_CWORD - 1]} in
	--disk | --disks-from | --args-from | --lockspace | --lock-dir | \
		--lvm-lock-dir | --scsi-lock-dir)
		_guestlock_files "$cur"
		return
		;;
	--require-scope)
		_guestlock_words "$cur" node host server cluster
		return
		;;
	--exclusive-open)
		_guestlock_words "$cur" off warn require
		return
		;;
	--readonly)
		_guestlock_words "$cur" lock skip
		return
		;;
	--id | --uuid | --name | --wait | --lease | --epoch | --tag | \
		--timeout)
		return
		;;
	--side)
		_guestlock_words "$cur" source destination
		return
		;;
	esac
	if [[ $cur == -* ]]; then
		_guestlock_options "$cur" "$verb"
		return
	fi
	case $verb in
	attach-disk | detach-disk)
		if ((COMP_CWORD == first)); then
			_guestlock_guests "$cur"
		else
			_guestlock_files "$cur"
		fi
		;;
	ls | check | "migrate prepare" | "migrate out" | "migrate in" | \
		"migrate cancel")
		((COMP_CWORD == first)) && _guestlock_guests "$cur"
		;;
	run | "migrate incoming")
		while IFS= read -r first; do
			COMPREPLY+=("$first")
		done < <(compgen -c -- "$cur")
		;;
	who | doctor)
		_guestlock_files "$cur"
		;;
	esac
}

complete -F _guestlock guestlock
